"""What destinations answered, noted at once and recorded together.

Marking a delivery in SQLite means waiting for whoever commits arrivals just then, and that one waits for the disk.
So a delivery is appended to a small file first, which takes microseconds and survives the death of the process; the
next transaction, whosever it is, carries it into the queue. Between a destination's answer and its note lies one
write(2): that is the window in which a kill makes an instance go out twice (T60).
"""

import json
import os
import threading
import zlib
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Mark:
    """One task that its destination has taken."""

    number: int
    task_id: int
    destination: str
    at: float
    note: str
    sent_class: str = ""  # what was sent, where the destination still has to commit itself to it
    sent_uid: str = ""


class Marks:
    """The file, and what of it is not in the queue yet; any thread may note."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._lock = threading.Lock()
        self._pending: list[Mark] = []
        self._is_on_its_way = False  # a transaction holds some that is not committed yet
        self._number = 0

    def recover(self, applied: int) -> None:
        """Take up what an earlier process noted after the last one that the queue has."""
        data = os.pread(self._descriptor, _MAX_BYTES, 0)
        found = [mark for line in data.splitlines() if (mark := _parse(line)) is not None]
        self._pending = [mark for mark in found if mark.number > applied]
        self._number = max((applied, *(mark.number for mark in found)))
        if data and not data.endswith(b"\n"):
            with suppress(OSError):  # a line that was cut off takes no further one with it
                os.write(self._descriptor, b"\n")

    @property
    def has_pending(self) -> bool:
        """Whether the queue, as anybody can read it, lacks some.

        Under the lock: between the two steps of a `take` there seem to be none, and whoever claimed just then would
        send an instance again whose answer was heard (T60).
        """
        with self._lock:
            return bool(self._pending) or self._is_on_its_way

    def note(self, mark: Mark) -> None:
        """Keep it, under a number of its own. Raises OSError, and has noted nothing then."""
        with self._lock:
            mark = replace(mark, number=self._number + 1)
            line = _format(mark)
            if os.write(self._descriptor, line) != len(line):  # cut off: no line, and the next one begins anew
                os.write(self._descriptor, b"\n")
                raise OSError("the file of deliveries takes no more")
            self._number += 1
            self._pending.append(mark)

    def take(self) -> list[Mark]:
        """What a transaction is to carry into the queue."""
        with self._lock:
            taken, self._pending = self._pending, []
            self._is_on_its_way = bool(taken)
            return taken

    def give_back(self, marks: list[Mark]) -> None:
        """That transaction was rolled back."""
        with self._lock:
            self._pending = marks + self._pending
            self._is_on_its_way = False

    def settled(self) -> None:
        """What was taken is in the queue, whose transaction also holds its number: old lines mean nothing any more."""
        with self._lock:
            self._is_on_its_way = False
            if not self._pending:
                os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        os.close(self._descriptor)


def _format(mark: Mark) -> bytes:
    words = json.dumps(astuple(mark)).encode()
    return b"%08x %s\n" % (zlib.crc32(words), words)


def _parse(line: bytes) -> Mark | None:
    """None for what a power cut left of a line."""
    check, _, words = line.partition(b" ")
    try:
        return Mark(*json.loads(words)) if int(check, 16) == zlib.crc32(words) else None
    except (ValueError, TypeError):
        return None
