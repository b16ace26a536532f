"""Ctrl-C, and the signals by which a service manager or a closed terminal ends us: a sweep stops in order.

While a sweep runs, the first signal only asks it to stop: it ends its associations properly, and what it had is
told and recorded. At any other time, and the second time, it is Ctrl-C as everywhere.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLLED_S = 1.0  # the sweep looks ten times a second


class StopSign:
    """Says whether somebody asked to stop; whoever asks it again and again is being stopped in order."""

    def __init__(self) -> None:
        self._asked = False
        self._polled_at = -_POLLED_S

    def __call__(self) -> bool:
        """Whether to stop now."""
        self._polled_at = time.monotonic()
        return self._asked

    def take(self, _number: int, _frame: FrameType | None) -> None:
        """A signal came."""
        if self._asked or time.monotonic() - self._polled_at > _POLLED_S:
            raise KeyboardInterrupt
        self._asked = True


@contextmanager
def watch_signals() -> Iterator[StopSign]:
    """A sign that signals set, until the block ends; a signal that was ignored before (nohup) stays ignored."""
    sign = StopSign()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    watched = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in watched:
        signal.signal(number, sign.take)
    try:
        yield sign
    finally:
        for number in watched:
            signal.signal(number, before[number])
