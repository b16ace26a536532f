"""Is this file a history of ours, whole, and of a version that we know? Asked before SQLite sees it (T44).

SQLite takes an empty file for a new database and notices a cut one only where it happens to read. So the
header is read first (sqlite.org/fileformat2.html, section 1.3): a file that is torn, foreign or newer is
refused with how to go on, never treated as empty.
"""

import os
import struct
from pathlib import Path
from typing import Final

from fleet.errors import HistoryError

APPLICATION_ID: Final = 0x464C4554  # "FLET"
VERSION: Final = 3

_MAGIC: Final = b"SQLite format 3\x00"
_HEADER_BYTES: Final = 100


def rebuild_hint(path: Path) -> str:
    """How to go on without this file."""
    return (
        f"move it aside (`mv {path} {path}.broken`, with its -wal and -shm files) or put a backup in its place; fleet "
        "then starts a new history. What is lost with it: earlier runs, the guard against mass removals until the next "
        "apply, and which boxes were marked as done by hand"
    )


def as_sentence(text: str) -> str:
    """With a capital at its beginning, and nothing else touched: a path in it must stay what it is."""
    return text[:1].upper() + text[1:]


def wal_of(path: Path) -> Path:
    """SQLite's write-ahead log beside the file."""
    return path.with_name(f"{path.name}-wal")


def check_file(path: Path) -> None:
    """Raise `HistoryError` unless the file at `path` looks like a whole history of a version that we read."""
    # Asked twice: beside a run that is just closing the log, a header may be newer than the size that was read.
    fault = _look(path) and _look(path)
    if fault:
        raise HistoryError(f"{path}: {fault}; nothing was done. {as_sentence(rebuild_hint(path))}")


def _look(path: Path) -> str | None:
    has_wal = _size(wal_of(path)) > 0  # first: a log that goes away afterwards has been folded in
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise HistoryError(f"{path}: the history cannot be read: {error.strerror}") from error
    return _fault(header, size, has_wal=has_wal)


def check_absence(path: Path) -> None:
    """Raise `HistoryError` where the file is gone but its log is there: the history was lost, not never begun."""
    if _size(wal_of(path)) > 0:
        raise HistoryError(
            f"{path}: the history is gone, but its log {wal_of(path).name} is there; nothing was done. "
            f"Put the file back beside its log, or {rebuild_hint(path)}"
        )


def _fault(header: bytes, size: int, *, has_wal: bool) -> str | None:
    if size == 0:
        return "the history is torn: the file is empty"
    if not header.startswith(_MAGIC[: len(header)]):
        return "this is no history of fleet, but some other file"
    if len(header) < _HEADER_BYTES:
        return f"the history is torn: {size} bytes are less than its header"
    page_bytes, pages = struct.unpack_from(">H10xI", header, 16)
    version, application = struct.unpack_from(">I4xI", header, 60)
    if application != APPLICATION_ID:
        return "this is no history of fleet, but some other SQLite database"
    if version > VERSION:
        return f"the history is of version {version}, this fleet knows {VERSION}: a newer fleet wrote it; use that one"
    expected = (65536 if page_bytes == 1 else page_bytes) * pages
    # While a log is there, a checkpoint may have written the header before the last pages: SQLite repairs that.
    if size < expected and not has_wal:
        return f"the history is torn: {size} of {expected} bytes are there"
    return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def make_private_folder(folder: Path) -> None:
    """The folder of the history, made when missing, with 0700 for what is made."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise HistoryError(f"{folder}: the history's folder cannot be made: {error.strerror}") from error


def make_private(path: Path) -> None:
    """0600, whatever a copy or a restore left: the history names hosts, addresses and people."""
    status = path.stat()
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        path.chmod(0o600)
