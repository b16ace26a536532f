"""A TCP connection within a deadline, name resolution included."""

import socket
import threading
import time
from queue import Empty, SimpleQueue

from fleet.errors import NetworkError


class Deadline:
    """A moment on the monotonic clock that everything in a phase has to meet together."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends_at = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())

    def at_most(self, seconds: float | None) -> "Deadline":
        """This one, or one that ends earlier."""
        return self if seconds is None or seconds >= self.left_s else Deadline(seconds)

    @property
    def is_over(self) -> bool:
        return self.left_s <= 0


# How long what was sent may stay unacknowledged (RFC 5482): a peer that vanished is noticed also while we write.
_UNACKNOWLEDGED_MS = 45_000


def connect(address: str, port: int, deadline: Deadline, where: str) -> socket.socket:
    """TCP, every address of a name in turn; each gets its share of what is left."""
    found = _resolve(address, port, deadline, where)
    last: OSError = TimeoutError()
    for left, (family, target) in zip(range(len(found), 0, -1), found, strict=True):
        stream = socket.socket(family, socket.SOCK_STREAM)
        stream.settimeout(max(deadline.left_s / left, 0.001))
        try:
            stream.connect(target)
        except OSError as error:
            stream.close()
            last = error
        else:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
            return stream
    if isinstance(last, TimeoutError):
        raise NetworkError(f"{where}: no answer within {deadline.seconds:g} s", phase="connect") from last
    raise NetworkError(f"{where}: {last.strerror or last}", phase="connect") from last


def _resolve(address: str, port: int, deadline: Deadline, where: str) -> list[tuple[int, tuple[object, ...]]]:
    """Names have no deadline in libc: a thread asks, and is left behind when the time is over."""
    answers: SimpleQueue[list[tuple[int, tuple[object, ...]]] | OSError] = SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
            answers.put([(int(family), target) for family, _, _, _, target in found])
        except OSError as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True, name="fleet-resolve").start()
    try:
        answer = answers.get(timeout=max(deadline.left_s, 0.001))
    except Empty:
        raise NetworkError(
            f"{where}: its name was not resolved within {deadline.seconds:g} s", phase="connect"
        ) from None
    if isinstance(answer, OSError):
        raise NetworkError(f"{where}: its name cannot be resolved: {answer.strerror}", phase="connect") from answer
    return answer
