"""The listening sockets, and what happens when this process has no descriptor left for one more connection.

A connection that cannot be accepted stays in the backlog and makes its socket readable for ever, so that a loop would
spin at full speed until a descriptor is free. Strangers who have said nothing give theirs back first; when there are
none, nothing is accepted for a moment, and who is connected is served as before.
"""

import errno
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final

from fleet.relay.telling import Teller

PAUSE_S: Final = 0.25
_BACKLOG: Final = 4096  # a full one drops a SYN, and who is dropped comes again after a second (tcp(7))
_AT_ONCE: Final = 64  # connections, before those that are open have their turn
_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))  # accept(2)


class Listening:
    """The sockets of one loop, watched by its selector."""

    def __init__(
        self, selector: selectors.BaseSelector, tell: Teller, counted: Callable[[], float] = time.monotonic
    ) -> None:
        self._selector, self._tell, self._counted = selector, tell, counted
        self._sockets: dict[int, tuple[socket.socket, bool]] = {}  # by descriptor; whether TLS is spoken there
        self._paused_until: float | None = None
        self._is_short = False  # told, and not over yet

    def listen(self, address: str, port: int, is_secure: bool) -> int:
        """Open one; returns its port."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        self._sockets[listener.fileno()] = listener, is_secure
        self._selector.register(listener, selectors.EVENT_READ)
        bound: int = listener.getsockname()[1]
        return bound

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._sockets

    def accept(self, descriptor: int, give_back: Callable[[], bool]) -> Iterator[tuple[socket.socket, str, bool]]:
        """Who waits there, from which address, and whether TLS is spoken; `give_back` frees a descriptor if it can."""
        listener, is_secure = self._sockets[descriptor]
        if self._paused_until is not None:  # since this event was read
            return
        for _ in range(_AT_ONCE):
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                self._enough()
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:  # of this one connection: it is gone (accept(2))
                    continue
                self._short(error.errno)
                if give_back():
                    continue
                self._pause()
                return
            yield sock, peer[0].removeprefix("::ffff:"), is_secure

    def resume(self) -> None:
        """Accept again when the pause is over; to be called a few times a second."""
        if self._paused_until is not None and self._counted() >= self._paused_until:
            self._paused_until = None
            for listener, _ in self._sockets.values():
                self._selector.register(listener, selectors.EVENT_READ)

    def close(self) -> None:
        """Take nobody any more."""
        while self._sockets:
            _, (listener, _) = self._sockets.popitem()
            if self._paused_until is None:
                self._selector.unregister(listener)
            listener.close()

    def _pause(self) -> None:
        self._paused_until = self._counted() + PAUSE_S
        for listener, _ in self._sockets.values():
            self._selector.unregister(listener)

    def _short(self, code: int) -> None:
        self._tell.count("accept-failed")
        if not self._is_short:
            self._is_short = True
            self._tell("accept-paused", why=os.strerror(code), do="raise LimitNOFILE of the unit, or look who connects")

    def _enough(self) -> None:
        if self._is_short:
            self._is_short = False
            self._tell("accept-resumed")
