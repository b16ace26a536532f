"""The open file underneath: transactions, runs by their number, whose runs are read, SQLite's errors in our words."""

import functools
import hashlib
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from fleet.errors import HistoryError
from fleet.report.history.file import rebuild_hint

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D", bound="Database")


def whole(read: Callable[Concatenate[D, P], R]) -> Callable[Concatenate[D, P], R]:
    """What is read back must make the value it was made of: where it does not, the file was changed by others."""

    @functools.wraps(read)
    def call(database: D, /, *arguments: P.args, **options: P.kwargs) -> R:
        try:
            return read(database, *arguments, **options)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            message = f"{database.path}: the history is corrupt: what is read is not what was recorded ({error})"
            raise HistoryError(f"{message}; {rebuild_hint(database.path)}") from error

    return call


class Database:
    """An open file. Use it as a context manager; one thread at a time.

    One file holds the runs of every fleet that a person looks after; `concern` narrows what is read to one.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path
        self._fleet: str | None = None
        connection.create_function("is_mine", 1, self._is_mine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; the last to do so folds the log into it."""
        with mapped(self.path):
            self._connection.close()

    def concern(self, fleet: str) -> None:
        """From now on only runs of this fleet are read, and what is marked is of this fleet."""
        self._fleet = fleet

    def concern_what_there_is(self) -> tuple[str, ...]:
        """For an inventory whose name cannot be read: its fleet is the only one there is. Returns those there are."""
        fleets = self.fleets()
        if len(fleets) < 2:
            self._fleet = fleets[0] if fleets else None
        return fleets

    @whole
    def fleets(self) -> tuple[str, ...]:
        """The names of the fleets that this file has runs of, sorted."""
        statement = "SELECT DISTINCT fleet FROM runs WHERE fleet IS NOT NULL AND fleet != '' ORDER BY fleet"
        return tuple(row[0] for row in self._read(statement))

    def check(self) -> None:
        """Read every page (`fleet doctor`). Raises `HistoryError` naming the first fault."""
        found = self._read("PRAGMA integrity_check(1)")[0][0]
        if found != "ok":
            raise HistoryError(f"{self.path}: the history is corrupt: {found}; {rebuild_hint(self.path)}")

    def _is_mine(self, fleet: str | None) -> bool:
        """Runs of a history of version 1 do not say of which fleet they are: they are everybody's."""
        return self._fleet is None or fleet is None or fleet == self._fleet

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        """One transaction that takes the write lock at once, so that two writers wait instead of failing."""
        with mapped(self.path):
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # the first error is the one to tell
                    cursor.execute("ROLLBACK")
                raise

    def _read(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with mapped(self.path):
            return self._connection.execute(statement, values).fetchall()

    def _find(self, run_id: str) -> int:
        with mapped(self.path):
            number = find_number(self._connection.cursor(), run_id, self.path)
        fleet = self._read("SELECT fleet FROM runs WHERE number = ?", (number,))[0][0]
        if not self._is_mine(fleet):
            theirs = f"of the fleet {fleet!r}" if fleet else "of a list of targets"
            message = f"run {run_id!r} is {theirs}, not of {self._fleet or 'a list'!r}; runs of another fleet are"
            raise HistoryError(f"{self.path}: {message} not compared with; `fleet history` lists them")
        return number

    def _newest(self, table: str) -> int | None:
        statement = f"SELECT max(run) FROM {table} WHERE run IN (SELECT number FROM runs WHERE is_mine(fleet))"  # noqa: S608  a table's name of ours
        found: int | None = self._read(statement)[0][0]
        return found

    def _compare(self, content: bytes, digest: str, what: str) -> None:
        if digest_of(content) != digest:
            raise HistoryError(f"{self.path}: {what} is not what was recorded; {rebuild_hint(self.path)}")


@contextmanager
def mapped(path: Path) -> Iterator[None]:
    """SQLite's errors in our words."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            message = f"{path}: another fleet has been writing to the history for too long; try again when it is done"
            raise HistoryError(message) from error
        raise HistoryError(f"{path}: the history cannot be used: {error}") from error
    except sqlite3.IntegrityError as error:
        raise HistoryError(f"{path}: the history already holds this, or lacks what it rests on: {error}") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise HistoryError(f"{path}: the history is corrupt: {error}; {rebuild_hint(path)}") from error


def execute_many(cursor: sqlite3.Cursor, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows; text that is no Unicode (a peer's lone surrogates) is escaped instead of losing the whole run."""
    cursor.execute("SAVEPOINT rows")
    try:
        cursor.executemany(statement, rows)
    except UnicodeEncodeError:
        cursor.execute("ROLLBACK TO rows")
        cursor.executemany(statement, [tuple(_encodable(value) for value in row) for row in rows])
    cursor.execute("RELEASE rows")


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def find_number(cursor: sqlite3.Cursor, run_id: str, path: Path | None = None) -> int:
    """The number of a run by its id, an unambiguous beginning of it, or `last`."""
    if run_id == "last":
        rows = cursor.execute("SELECT number FROM runs WHERE is_mine(fleet) ORDER BY number DESC LIMIT 1").fetchall()
    else:
        rows = cursor.execute("SELECT number FROM runs WHERE run_id = ?", (run_id,)).fetchall()
    if not rows and run_id:
        statement = "SELECT number FROM runs WHERE substr(run_id, 1, length(?)) = ? LIMIT 2"
        rows = cursor.execute(statement, (run_id, run_id)).fetchall()
    if len(rows) != 1:
        reason = "more than one run begins so" if rows else "there is no such run"
        place = f"{path}: " if path else ""
        raise HistoryError(f"{place}run {run_id!r}: {reason}; `fleet history` lists them")
    number: int = rows[0][0]
    return number


def unpack(packed: bytes) -> bytes:
    """What was compressed; nothing where it cannot be read, so that its digest does not fit."""
    try:
        return zlib.decompress(packed)
    except zlib.error:
        return b""


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
