"""Time as a parameter: monotonic, because durations must not follow a clock that somebody sets (T42)."""

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic time, and waiting for it to pass."""

    def monotonic_s(self) -> float:
        """Seconds since some moment."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


class SystemClock:
    """The real one."""

    def monotonic_s(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        time.sleep(seconds)
