"""Names to addresses beside the loop, within a deadline.

getaddrinfo(3) blocks and cannot be cancelled, so each look-up has a thread of its own, which is simply
left behind when its time is over. A name that many targets share is looked up once.
"""

import contextlib
import os
import queue
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_LOOKUPS = 128

SocketAddress = tuple[Any, ...]
Lookup = Callable[[str, int], list[tuple[int, SocketAddress]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one name: addresses as (family, socket address), or the words of the failure."""

    name: str
    addresses: tuple[tuple[int, SocketAddress], ...]
    error: str
    seconds: float


def lookup_system(name: str, port: int) -> list[tuple[int, SocketAddress]]:
    """Ask the system's resolver; the order is RFC 6724's."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def parse_literal(address: str, port: int) -> tuple[int, SocketAddress] | None:
    """Return the socket address of an IP address, None for a name."""
    try:
        socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError):
        return _parse_ipv6(address, port)
    return socket.AF_INET, (address, port)


def _parse_ipv6(address: str, port: int) -> tuple[int, SocketAddress] | None:
    with contextlib.suppress(OSError, ValueError):
        # One spelling for one machine: what it bears is counted by its address (RFC 5952).
        packed = socket.inet_pton(socket.AF_INET6, address)
        return socket.AF_INET6, (socket.inet_ntop(socket.AF_INET6, packed), port, 0, 0)
    if "%" in address and ":" in address:  # a scoped IPv6 address such as fe80::1%eth0 (RFC 4007)
        host, _, scope = address.partition("%")
        try:
            return socket.AF_INET6, (host, port, 0, socket.if_nametoindex(scope))
        except OSError:
            return None
    return None


class Resolver:
    """Looks names up in threads; `wake_fd` becomes readable when an answer waits."""

    def __init__(self, lookup: Lookup, clock: Callable[[], float], limit_s: float) -> None:
        self._lookup = lookup
        self._clock = clock
        self._limit_s = limit_s
        self._waiting: deque[str] = deque()
        self._running: dict[str, float] = {}
        self._limits: dict[str, float] = {}
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closed = False
        self._lock = threading.Lock()  # the descriptor must not be written after it was closed

    def submit(self, name: str, limit_s: float | None = None) -> None:
        """Look *name* up; *limit_s* is what those who wait for it have in all, where that is less."""
        self._limits[name] = self._limit_s if limit_s is None else min(self._limit_s, limit_s)
        self._waiting.append(name)
        self._start_more()

    def take(self, now: float) -> list[Answer]:
        """Return the answers that came, and failures for the names whose time is over."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.wake_fd)
        answers = []
        while not self._answers.empty():
            answer = self._answers.get()
            if self._running.pop(answer.name, None) is not None:  # else its time was over before
                answers.append(answer)
        for name, started in list(self._running.items()):
            limit_s = self._limits[name]
            if now - started >= limit_s:
                del self._running[name]
                words = f"the name was not resolved within {limit_s:g} s; check the DNS servers"
                answers.append(Answer(name, (), words, now - started))
        self._start_more()
        return answers

    def close(self) -> None:
        """Let go of look-ups that still hang; their threads end with their call, or with the process."""
        with self._lock:
            self._closed = True
            os.close(self.wake_fd)

    def _start_more(self) -> None:
        while self._waiting and len(self._running) < MAX_LOOKUPS:
            name = self._waiting.popleft()
            self._running[name] = self._clock()
            threading.Thread(target=self._work, args=(name,), name="fleet-resolve", daemon=True).start()

    def _work(self, name: str) -> None:
        started = self._clock()
        addresses: tuple[tuple[int, SocketAddress], ...] = ()
        error = ""
        try:
            addresses = tuple(self._lookup(name, 0))
        except (OSError, UnicodeError) as failure:
            error = f"the name cannot be resolved: {failure}; check the name and the DNS servers"
        self._answers.put(Answer(name, addresses, error, self._clock() - started))
        with self._lock:
            if not self._closed:
                os.eventfd_write(self.wake_fd, 1)
