"""The brakes: who may be asked now, so that no device gets more than it bears.

Targets wait at their address. An address whose turn it is stands in one queue; at most so many
associations run at one address, with a pause after each. Everything is O(1) for each target.
"""

import heapq
import socket
from collections import deque

from fleet.verify.course import Course
from fleet.verify.values import EchoTarget


class Host:
    """One address and those who wait for it; the last of `waiting` is the next.

    Its `limit` is the smallest that anybody who lives there asks for: it is one machine that falls over.
    """

    __slots__ = ("active", "free_at", "limit", "queued", "waiting")

    def __init__(self, limit: int) -> None:
        self.active = 0
        self.limit = limit
        self.free_at = 0.0
        self.queued = False
        self.waiting: list[Entry] = []


class Entry:
    """One target in the sweep: its number, its socket address; `others` are left of its name.

    Its course begins when its turn comes: of a hundred thousand who wait, five hundred are being asked.
    """

    __slots__ = ("address", "course", "family", "number", "others", "target", "unopened")

    def __init__(self, number: int, target: EchoTarget, family: int, address: tuple[object, ...]) -> None:
        self.number = number
        self.target = target
        self.family = family
        self.address = address
        self.course: Course | None = None
        self.others: tuple[tuple[int, tuple[object, ...]], ...] = ()
        self.unopened: tuple[str, ...] = ()  # what became of the addresses before this one


def describe_place(entry: Entry) -> str:
    """Which of a name's addresses was asked, and what became of those before it."""
    name = entry.target.address
    kind = "IPv6" if entry.family == socket.AF_INET6 else "IPv4"
    tried, count = len(entry.unopened), len(entry.unopened) + 1 + len(entry.others)
    which = "" if count == 1 else f", the first of {count}" if not tried else f", number {tried + 1} of {count}"
    before = "".join(f"; {words}" for words in entry.unopened)
    return f"{name} is {entry.address[0]} ({kind}{which}){before}"


class HostQueue:
    """See the module."""

    def __init__(self, pause_s: float, max_per_host: int | None) -> None:
        self._pause_s = pause_s
        self._max_per_host = max_per_host
        self._hosts: dict[str, Host] = {}
        self._ready: deque[Host] = deque()
        self._later: list[tuple[float, int, Host, Entry | None]] = []
        self._sequence = 0

    def add(self, entry: Entry) -> Host:
        """Let *entry* wait behind those who wait at its address."""
        address = str(entry.address[0])
        host = self._hosts.get(address)
        if host is None:
            host = self._hosts[address] = Host(self._limit(entry))
        elif host.limit > 1:
            host.limit = min(host.limit, self._limit(entry))
        host.waiting.insert(0, entry)
        if not host.queued:
            host.queued = True
            self._ready.append(host)
        return host

    def next(self, now: float) -> tuple[Host, Entry] | None:
        """Return who may be asked now, counted as active from here on."""
        ready = self._ready
        while ready:
            host = ready.popleft()
            host.queued = False
            waiting = host.waiting
            if not waiting or (host.active and host.active >= host.limit):
                continue
            if host.free_at > now:
                self._push_later(host.free_at, host, None)
                continue
            entry = waiting.pop()
            host.active += 1
            if waiting:
                self._enqueue(host)
            return host, entry
        return None

    def leave(self, host: Host, now: float) -> None:
        """One association at *host* is over."""
        host.active -= 1
        if self._pause_s:
            host.free_at = now + self._pause_s
        if host.waiting:
            self._enqueue(host)

    def come_back(self, host: Host, entry: Entry, at: float, now: float) -> None:
        """*entry* has to be asked again at *at*, before those who wait behind it."""
        if at > now:
            self._push_later(at, host, entry)
        else:
            host.waiting.append(entry)
            self._enqueue(host)

    def wake(self, now: float) -> float | None:
        """Move those whose time has come into the queue; return when the next one's will come."""
        later = self._later
        while later and later[0][0] <= now:
            _, _, host, entry = heapq.heappop(later)
            if entry is not None:
                host.waiting.append(entry)
            self._enqueue(host)
        return later[0][0] if later else None

    def _limit(self, entry: Entry) -> int:
        limit = entry.target.max_associations_per_host
        return limit if self._max_per_host is None else min(limit, self._max_per_host)

    def _enqueue(self, host: Host) -> None:
        if host.waiting and not host.queued:
            host.queued = True
            self._ready.append(host)

    def _push_later(self, at: float, host: Host, entry: Entry | None) -> None:
        self._sequence += 1
        heapq.heappush(self._later, (at, self._sequence, host, entry))
