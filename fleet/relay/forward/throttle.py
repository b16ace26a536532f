"""How fast a destination may be sent to, by the hour, and how fast it was.

What is sent is let through at once and paid for afterwards: the next piece waits until the rate is kept. Several
associations of one destination share one account.
"""

import threading
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from fleet.relay.route.hours import is_open, parse_hours
from fleet.relay.values import Rate

METER_S: Final = 60


class Throttle:
    """One destination's account; times are POSIX seconds of one clock, handed in."""

    def __init__(self, rates: Sequence[Rate] = ()) -> None:
        self._rates = tuple((None if each.during is None else parse_hours(each.during), each) for each in rates)
        self._lock = threading.Lock()
        self._next_bytes_at = self._next_instance_at = 0.0

    def rate(self, now: float) -> Rate | None:
        """The first one whose hours these are; None: there is no limit now."""
        at = datetime.fromtimestamp(now, UTC)
        return next((rate for hours, rate in self._rates if is_open(hours, at)), None)

    def delay_s(self, now: float) -> float:
        """How long nothing may begin. A clock that was set back by a day does not hold it up for a day (T71)."""
        if self.rate(now) is None:
            return 0.0
        with self._lock:
            return min(max(self._next_bytes_at - now, self._next_instance_at - now, 0.0), 2 * METER_S)

    def begin_instance(self, now: float) -> None:
        """One more is on its way."""
        rate = self.rate(now)
        if rate is not None and rate.instances_per_s is not None:
            with self._lock:
                begins_at = self._sane(self._next_instance_at, now)
                self._next_instance_at = begins_at + 1 / rate.instances_per_s

    def pay(self, size_bytes: int, now: float) -> float:
        """So much is about to go: how long to wait before it does."""
        rate = self.rate(now)
        if rate is None or rate.bytes_per_s is None:
            return 0.0
        with self._lock:
            begins_at = self._sane(self._next_bytes_at, now)
            self._next_bytes_at = begins_at + size_bytes / rate.bytes_per_s
            return begins_at - now

    def block_bytes(self, now: float, usual: int) -> int:
        """How much may go in one piece: about a second's worth, so that the line is used evenly."""
        rate = self.rate(now)
        return usual if rate is None or rate.bytes_per_s is None else min(usual, rate.bytes_per_s)

    @staticmethod
    def _sane(at: float, now: float) -> float:
        return min(max(at, now), now + 2 * METER_S)


class Meter:
    """What went through in the last minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: deque[tuple[int, int]] = deque()  # second, instances

    def count(self, now: float) -> None:
        with self._lock:
            second = int(now)
            if self._seen and self._seen[-1][0] == second:
                self._seen[-1] = (second, self._seen[-1][1] + 1)
            else:
                self._seen.append((second, 1))
            self._drop(now)

    def per_minute(self, now: float) -> int:
        """Instances in the last minute."""
        with self._lock:
            self._drop(now)
            return sum(number for _, number in self._seen)

    def _drop(self, now: float) -> None:
        while self._seen and not now - METER_S <= self._seen[0][0] <= now + 1:
            self._seen.popleft()
