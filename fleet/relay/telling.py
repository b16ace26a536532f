"""What the relay tells: JSON lines and counters, without patient data at any level (T73).

UIDs go out as a keyed hash: the same instance is recognized in two lines, and nobody else's list of UIDs can be
compared with them. No value of a data set and no text of an exception from inside one is ever handed in here.
"""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

Field = str | int | float | bool | None
HASH_BYTES: Final = 8


class Teller:
    """Writes one JSON object a line; `write` gets the line, `clock` gives POSIX seconds."""

    def __init__(self, write: Callable[[str], None], key: bytes, clock: Callable[[], float]) -> None:
        self._write, self._key, self._clock = write, key, clock
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def __call__(self, event: str, /, **fields: Field) -> None:
        """Tell an event; its number is kept for the metrics."""
        self.count(event)
        line = json.dumps({"at": round(self._clock(), 3), "event": event, **fields}, ensure_ascii=True)
        with self._lock:
            self._write(line)

    def count(self, event: str, number: int = 1) -> None:
        """Count without a line: what happens a hundred times a second."""
        with self._lock:
            self._counts[event] += number

    def counts(self) -> dict[str, int]:
        """What was counted since the start."""
        with self._lock:
            return dict(self._counts)

    def hash_uid(self, uid: str) -> str:
        """A UID as it may stand in a log."""
        return hashlib.blake2s(uid.encode("utf-8", "replace"), key=self._key[:32], digest_size=HASH_BYTES).hexdigest()
