"""What fleet did and saw, remembered: SQLite in WAL mode, so that reading never blocks and is never blocked.

One file for every run. It is made whole beside its place and then linked there, so that an empty or a cut file
is never one of ours in the making (T44); what decisions rest on (the last valid inventory, what was last
applied, what was typed into a box) carries a digest of its own and is compared when read.
"""

import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from fleet.errors import HistoryError
from fleet.report.history import tables
from fleet.report.history.database import mapped
from fleet.report.history.file import (
    VERSION,
    as_sentence,
    check_absence,
    check_file,
    make_private,
    make_private_folder,
    rebuild_hint,
)
from fleet.report.history.plans import Plans
from fleet.report.history.recording import Recording
from fleet.report.history.sweeps import Sweeps

BUSY_TIMEOUT_S: Final = 30.0
QUICK_CHECK_BELOW_BYTES: Final = 64 * 1024 * 1024


class History(Recording, Sweeps, Plans):
    """All that an open history can be asked and told."""


def open_history(path: Path, *, create: bool = True, busy_timeout_s: float = BUSY_TIMEOUT_S) -> History:
    """The history at `path`, made when missing.

    Raises `HistoryError` where the file is torn, foreign or newer, where it is gone although its log is there,
    or where it is missing and `create` is false.
    """
    if not path.exists():
        check_absence(path)
        if not create:
            raise HistoryError(f"{path}: there is no history yet; it begins with the first plan, apply, verify or run")
        _create(path)
    check_file(path)
    make_private(path)
    with mapped(path):
        connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            if path.stat().st_size < QUICK_CHECK_BELOW_BYTES:
                _quick_check(connection, path)
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            _bring_up_to_date(connection)
        except BaseException:
            connection.close()
            raise
    return History(connection, path)


def _quick_check(connection: sqlite3.Connection, path: Path) -> None:
    """A page that is scratched may read as an empty table, so SQLite looks first (2.5 ms a MB)."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found == "ok" and connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
        found = "a row belongs to no run"
    if found != "ok":
        raise HistoryError(f"{path}: the history is torn: {found}; nothing was done. {as_sentence(rebuild_hint(path))}")


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    """A history of an earlier version gets what it lacks, in one transaction; nothing in it is lost."""
    if _version(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version, statements in ((1, tables.FROM_1_TO_2), (2, tables.FROM_2_TO_3)):
            for statement in statements if _version(connection) == version else ():  # unless another was faster
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # the first error is the one to tell
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def _create(path: Path) -> None:
    """Make it whole beside its place, then link it there; whoever was faster has made the one that counts."""
    make_private_folder(path.parent)
    with mapped(path):
        try:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes it 0600
        except OSError as error:
            raise HistoryError(f"{path}: the history cannot be made: {error.strerror}") from error
        os.close(handle)
        try:
            with closing(sqlite3.connect(name, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(tables.CREATE)
            with suppress(FileExistsError):
                os.link(name, path)
        finally:
            for leftover in (name, f"{name}-wal", f"{name}-shm"):
                Path(leftover).unlink(missing_ok=True)
