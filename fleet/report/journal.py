"""Who changed what, and nobody may take it back: a chain of JSON lines beside the history file.

Each line carries the digest of the line before it and its own; the history remembers the last one. So a line
that was edited, removed, put in, moved or cut off is found, and so is a file that was replaced as a whole. Before
a line is written the history is told what it will be: what a crash leaves behind is then known from what
somebody did. How it is written is here, what is wrong with one is found by `journal_check`.
"""

import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from fleet.errors import HistoryError
from fleet.report.history.file import make_private_folder

GENESIS: Final = "0" * 64
_TAIL_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Head:
    """A line of the chain: its number, counted from 1, and its digest. Number 0 is the chain before its first line."""

    number: int = 0
    digest: str = GENESIS

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


@dataclass(frozen=True, slots=True)
class KnownHead:
    """What the history knows of the end of the chain: `before` is where it ended until the last writing began.

    `is_settled` says that the last writing is known to have ended; without it a crash may have cut it.
    """

    head: Head
    before: Head
    is_settled: bool = True


class Heads(Protocol):
    """Whoever remembers the end of the chain."""

    def read_journal_head(self) -> KnownHead | None:
        """The end that is remembered; None where there never was a line."""

    def record_journal_head(self, known: KnownHead) -> None:
        """Remember this end from now on."""


def journal_of(history: Path) -> Path:
    """The journal that belongs to a history file."""
    return history.with_name(f"{history.name}.journal.jsonl")


def seal(number: int, before: str, fields: Mapping[str, Any]) -> tuple[bytes, Head]:
    """An event as its line (without the newline), and the end of the chain that it makes."""
    body = {"n": number, "prev": before, **fields}
    digest = hashlib.sha256(_dump(body)).hexdigest()
    return _dump({**body, "hash": digest}), Head(number, digest)


def unseal(line: bytes) -> Mapping[str, Any] | None:
    """The event of a line, or None where the line is not, byte by byte, what `seal` made."""
    try:
        fields = json.loads(line)
        body = {name: value for name, value in fields.items() if name != "hash"}
        number, before = body.pop("n"), body.pop("prev")
        whole, _ = seal(number, before, body)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None
    return fields if whole == line else None


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


class Journal:
    """Appends events; several fleets at once take turns."""

    def __init__(self, path: Path, heads: Heads, clock: Callable[[], datetime]) -> None:
        self.path = path
        self._heads = heads
        self._clock = clock

    def append(self, *events: Mapping[str, Any]) -> Head:
        """Write events, one fsynced line each; returns the new end. Raises `HistoryError`."""
        with _open_alone(self.path) as file:
            known = self._heads.read_journal_head()
            end, found = _find_end(file, known)
            at = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
            lines, head = [], end
            for event in (*found, *events):
                line, head = seal(head.number + 1, head.digest, {"at": at, **event})
                lines.append(line + b"\n")
            self._heads.record_journal_head(KnownHead(head, end, is_settled=False))
            _write(file, b"".join(lines), self.path)
        return head

    def settle(self) -> None:
        """Nothing is being written any more: from now on a line that is missing was taken away."""
        with _open_alone(self.path) as file:
            known = self._heads.read_journal_head()
            if known is not None and not known.is_settled and _find_end(file, known) == (known.head, ()):
                self._heads.record_journal_head(KnownHead(known.head, known.head))


@contextmanager
def read_alone(path: Path) -> Iterator[bytes | None]:
    """All of it while nobody writes to it; None where there is none. Raises `HistoryError`."""
    try:
        # O_NONBLOCK: a pipe in its place must not hold us.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            _check_kind(file.fileno())
            fcntl.flock(file, fcntl.LOCK_SH)
            yield file.read()
    except FileNotFoundError:
        yield None
    except OSError as error:
        raise HistoryError(f"{path}: the journal cannot be read: {error.strerror}") from error


def _find_end(file: int, known: KnownHead | None) -> tuple[Head, Sequence[Mapping[str, Any]]]:
    """Where to go on, and what has to be written down first because the file does not end where it should."""
    remembered = known or KnownHead(Head(), Head())
    line, torn = _read_tail(file)
    fields = unseal(line) if line else None
    last = Head() if not line else Head(fields["n"], fields["hash"]) if fields else None
    may_be_cut = not remembered.is_settled
    if last == remembered.head and not torn:
        return remembered.head, ()
    if may_be_cut and last is not None and _is_between(last, remembered):
        os.ftruncate(file, os.fstat(file).st_size - len(torn))
        lost = remembered.head.number - last.number
        return last, ({"event": "recovered", "lost_lines": lost, "torn_bytes": len(torn)},)
    # The evidence stays where it is; from here on the chain says that it was found like this.
    if torn:
        _write(file, b"\n", None)
    found = str(last) if last and not torn else "a line that is none of fleet's"
    number = max(remembered.head.number, last.number if last else 0)
    digest = last.digest if last and not torn else hashlib.sha256(torn or line).hexdigest()
    return Head(number, digest), ({"event": "broken", "expected": str(remembered.head), "found": found},)


def _is_between(last: Head, known: KnownHead) -> bool:
    """Whether a crash in the last writing can have left this end."""
    return last == known.before or known.before.number < last.number < known.head.number


def _read_tail(file: int) -> tuple[bytes, bytes]:
    """The last whole line, and what stands after it without an end."""
    size = os.fstat(file).st_size
    length = 0
    while True:
        length = min(size, max(_TAIL_BYTES, length * 4))
        data = os.pread(file, length, size - length)
        whole, _, torn = data.rpartition(b"\n")
        if length == size or b"\n" in whole:
            return whole.rpartition(b"\n")[2], torn


def _write(file: int, data: bytes, path: Path | None) -> None:
    try:
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
    except OSError as error:
        raise HistoryError(f"{path or 'the journal'}: the journal cannot be written: {error.strerror}") from error


@contextmanager
def _open_alone(path: Path) -> Iterator[int]:
    """The file, made when missing, with nobody else who writes to it."""
    make_private_folder(path.parent)
    try:
        while True:
            is_new = not path.exists()
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(path, flags, 0o600)
            _check_kind(file)
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and path.stat().st_ino == os.fstat(file).st_ino:
                break
            os.close(file)  # moved away while we waited: what is at the path now is what counts
    except OSError as error:
        raise HistoryError(f"{path}: the journal cannot be opened: {error.strerror}; nothing was done") from error
    try:
        if is_new:
            _sync_folder(path.parent)
        yield file
    finally:
        os.close(file)


def _check_kind(file: int) -> None:
    """Raise OSError for what is no regular file: nothing that is written there could be read again."""
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
