"""The loop that carries all dialogues of a sweep: one thread, epoll(7), plain sockets.

Of the ways tried (threads, asyncio, uvloop) a bare loop with prepared bytes was several times the
fastest and the smallest, and it is the easiest to reason about: one place that reads, one that writes,
one that looks at the clock. What to say to a peer is `dialogue`'s business, who may be asked is
`hosts`', what becomes of it is `course`'s.
"""

import contextlib
import errno
import gc
import random
import resource
import select
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from fleet.verify.course import Course
from fleet.verify.dialogue import EchoDialogue
from fleet.verify.endings import Phase
from fleet.verify.hosts import Entry, Host, HostQueue, describe_place
from fleet.verify.resolve import Answer, Resolver, parse_literal
from fleet.verify.settings import OnResult, Surroundings, SweepSettings
from fleet.verify.tls import LocalTlsError
from fleet.verify.values import EchoResult, EchoTarget, Outcome

_SCAN_S = 0.02
_LONGEST_WAIT_S = 0.1
_RECEIVE_BYTES = 16_384
_COLLECT_AFTER = 2_000_000
_SPARE_DESCRIPTORS = 24
_STARTS_A_ROUND = 64
_EVENTS_A_ROUND = 128
_CONNECTING = frozenset({0, errno.EINPROGRESS})
# SocketType is the socket without the layers that make it a context manager and a file.
_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_GONE = select.EPOLLERR | select.EPOLLHUP
_READABLE, _WRITABLE = select.EPOLLIN, select.EPOLLOUT
_ECHO = Phase.ECHO  # asking an Enum class for a member takes ten times as long as asking a module
_TRANSIENT_SEND = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR})
_UNOPENED = frozenset({Outcome.REFUSED, Outcome.NO_ROUTE, Outcome.CONNECT_TIMEOUT})
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class _Link:
    """A socket and the dialogue that runs over it."""

    __slots__ = ("connecting", "course", "dialogue", "entry", "fd", "host", "out", "refusal", "sock")

    def __init__(self, sock: socket.SocketType, host: Host, entry: Entry, course: Course, dialogue: EchoDialogue):
        self.sock = sock
        self.fd = sock.fileno()
        self.host = host
        self.entry = entry
        self.course = course
        self.dialogue = dialogue
        self.connecting = True
        self.refusal = 0  # the errno with which the connection could not be opened
        self.out = b""


class Loop:
    """See the module. *make_course* says what a target is asked."""

    def __init__(
        self,
        targets: Sequence[EchoTarget],
        make_course: Callable[[EchoTarget], Course],
        settings: SweepSettings,
        on_result: OnResult | None,
        surroundings: Surroundings,
    ) -> None:
        self._targets = targets
        self._settings = settings
        self._on_result = on_result
        self._clock = surroundings.clock
        self._stop = surroundings.stop
        self._surroundings = surroundings
        self._make_course = make_course
        self._queue = HostQueue(settings.pause_s, settings.max_associations_per_host)
        self._results: list[EchoResult | None] = [None] * len(targets)
        self._left = len(targets)
        self._links: dict[int, _Link] = {}
        self._names: dict[str, list[int]] = {}
        self._resolver: Resolver | None = None
        self._limit = 0
        # System calls that wake the other side are made in a row after each round of events: when the
        # peers share our machine or our core's network card, that halves what they cost.
        self._outbox: list[tuple[_Link, bytes]] = []
        self._opened: list[_Link] = []
        self._closed: list[socket.SocketType] = []

    def run(self) -> list[EchoResult]:
        self._epoll = select.epoll()
        # Results pile up and none of them is garbage: looking through them at the usual rate costs a
        # quarter of a large sweep. The collector still runs, only seldom, and is put back as it was.
        thresholds = gc.get_threshold()
        gc.set_threshold(_COLLECT_AFTER, *thresholds[1:])
        try:
            self._limit = _count_slots(self._settings.max_associations)
            self._enlist()
            self._turn()
        except KeyboardInterrupt:
            pass
        finally:
            gc.set_threshold(*thresholds)
            self._close()
        return self._complete()

    # The loop itself.

    def _turn(self) -> None:
        clock, poll, links = self._clock, self._epoll.poll, self._links
        scan_at = 0.0
        busy = 0
        while self._left:
            if self._stop is not None and self._stop():
                return
            now = clock()
            wake_at = self._queue.wake(now)
            # Where answers come faster than we can read them, more dialogues at once are only slower.
            self._start_some(now, _STARTS_A_ROUND - busy)
            if now >= scan_at:
                scan_at = self._expire(now)
            timeout = scan_at - now if wake_at is None else min(scan_at, wake_at) - now
            events = poll(max(timeout, 0.0), _EVENTS_A_ROUND)
            busy = len(events) // 2
            for fd, mask in events:
                link = links.get(fd)
                if link is not None:
                    self._serve(link, mask)
                elif self._resolver is not None and fd == self._resolver.wake_fd:
                    self._take_answers(clock())
            self._flush()

    def _serve(self, link: _Link, mask: int) -> None:
        now = self._clock()
        dialogue = link.dialogue
        try:
            if link.connecting:
                self._finish_connecting(link, mask, now)
            elif link.out and mask & _WRITABLE:
                self._send(link, b"")
            else:
                self._receive(link, dialogue, now)
        except Exception as error:  # noqa: BLE001 (the net below everything: named in the result, and the rest goes on)
            dialogue.failed(error)
        if dialogue.over:
            self._finish(link, now)

    def _finish_connecting(self, link: _Link, mask: int, now: float) -> None:
        if mask & _GONE:
            number = link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                link.dialogue.broke(number, now)
                return
        link.connecting = False
        out = link.dialogue.connected(now, link.sock.getsockname)
        self._epoll.modify(link.fd, _READABLE)
        if out:
            self._outbox.append((link, out))

    def _receive(self, link: _Link, dialogue: EchoDialogue, now: float) -> None:
        try:
            data = link.sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            dialogue.broke(error.errno or errno.EIO, now)
            return
        if not data:
            dialogue.peer_closed(now)
            return
        out = dialogue.receive(data, now)
        if out:
            self._outbox.append((link, out))

    def _flush(self) -> None:
        """Send what the round produced, then close what it ended."""
        for link, out in self._outbox:
            if link.out:
                self._send(link, out)
                continue
            try:
                sent = link.sock.send(out)
            except OSError:
                sent = 0  # _send finds out why
            if sent != len(out):
                self._send(link, out[sent:])
            elif link.dialogue.phase is _ECHO:
                _acknowledge_quickly(link.sock)
        self._outbox.clear()
        for sock in self._closed:
            sock.close()
        self._closed.clear()

    def _send(self, link: _Link, data: bytes) -> None:
        """Send what fits; a broken connection is left for the reading side to tell."""
        if not data and not link.out:
            return
        data = link.out + data if link.out else data
        try:
            sent = link.sock.send(data)
        except OSError as error:
            sent = 0 if error.errno in _TRANSIENT_SEND else len(data)
        had, link.out = link.out, data[sent:]
        if link.out:
            self._epoll.modify(link.fd, _READABLE | _WRITABLE)
        elif had:
            self._epoll.modify(link.fd, _READABLE)

    def _expire(self, now: float) -> float:
        """End the dialogues whose time is over; return when to look again."""
        soonest = now + _LONGEST_WAIT_S
        for link in list(self._links.values()):
            deadline = link.dialogue.deadline
            if deadline <= now:
                self._send(link, link.dialogue.expired(now))
                self._finish(link, now)
            elif deadline < soonest:
                soonest = deadline
        if self._resolver is not None and self._names:
            self._take_answers(now)
        return max(soonest, now + _SCAN_S)

    # Starting and ending.

    def _enlist(self) -> None:
        """Put every target where it waits: at its address, or behind the look-up of its name."""
        order = list(range(len(self._targets)))
        random.Random(self._settings.seed).shuffle(order)  # noqa: S311 (to spread load, not to hide)
        for number in reversed(order):
            target = self._targets[number]
            literal = parse_literal(target.address, target.port)
            if literal is None:
                self._names.setdefault(target.address, []).append(number)
            else:
                self._queue.add(Entry(number, target, *literal))
        if self._names:
            around = self._surroundings
            self._resolver = Resolver(around.lookup, self._clock, self._settings.resolve_s)
            self._epoll.register(self._resolver.wake_fd, _READABLE)
            for name, waiting in self._names.items():
                self._resolver.submit(name, min(self._targets[number].timeouts.total_s for number in waiting))

    def _take_answers(self, now: float) -> None:
        assert self._resolver is not None  # noqa: S101 (there is one as long as names wait)
        for answer in self._resolver.take(now):
            for number in self._names.pop(answer.name, ()):
                self._place(number, answer, now)

    def _place(self, number: int, answer: Answer, now: float) -> None:
        target = self._targets[number]
        course = self._make_course(target)
        course.resolve_s = answer.seconds
        if not answer.addresses:
            words = answer.error or "the name has no address"
            self._record(number, course.fail(Outcome.NAME_NOT_FOUND, words, now))
            return
        places = tuple((family, (address[0], target.port, *address[2:])) for family, address in answer.addresses)
        entry = Entry(number, target, *places[0])
        entry.course = course
        entry.others = places[1:]
        course.resolved = describe_place(entry)
        self._queue.add(entry)

    def _start_some(self, now: float, most: int) -> None:
        started = 0
        while len(self._links) < self._limit and started < most:
            turn = self._queue.next(now)
            if turn is None:
                break
            self._start(*turn, now)
            started += 1
        if started:
            self._connect_opened(now)

    def _start(self, host: Host, entry: Entry, now: float) -> None:
        course = entry.course
        if course is None:
            course = entry.course = self._make_course(entry.target)
            result = None
        else:
            result = course.give_up(now)
        if result is None:
            try:
                self._open(host, entry, course, now)
                return
            except (LocalTlsError, ValueError) as error:
                result = course.fail(Outcome.LOCAL_ERROR, f"the target cannot be asked: {error}", now)
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS and self._links:
                    self._limit = len(self._links)  # as many as the system lets us have
                    self._queue.leave(host, now)
                    self._queue.come_back(host, entry, now, now)
                    return
                result = course.fail(Outcome.LOCAL_ERROR, f"no socket can be opened: {error}", now)
        self._queue.leave(host, now)
        self._record(entry.number, result)

    def _open(self, host: Host, entry: Entry, course: Course, now: float) -> None:
        """Make socket and dialogue; the connection itself is opened with those of the same round."""
        sock = socket.SocketType(entry.family, _STREAM)
        try:
            dialogue = course.next_dialogue(now)
        except BaseException:
            sock.close()
            raise
        link = _Link(sock, host, entry, course, dialogue)
        self._links[link.fd] = link
        self._opened.append(link)

    def _connect_opened(self, now: float) -> None:
        """Open all connections of a round, then look which are open already: on a fast network most are."""
        for link in self._opened:
            try:
                link.refusal = link.sock.connect_ex(link.entry.address)
            except (OSError, OverflowError) as error:  # an address that the system cannot even read
                link.refusal = getattr(error, "errno", None) or errno.EINVAL
        for link in self._opened:
            dialogue = link.dialogue
            try:
                if link.refusal in _CONNECTING:
                    self._send_first(link, dialogue)
                if link.refusal not in _CONNECTING:
                    dialogue.broke(link.refusal, now)
            except Exception as error:  # noqa: BLE001 (as in `_serve`)
                dialogue.failed(error)
            if dialogue.over:
                self._finish(link, now)
        self._opened.clear()

    def _send_first(self, link: _Link, dialogue: EchoDialogue) -> None:
        """The first send tells whether the connection is open (connect(2)): no event has to be waited for."""
        try:
            sent = link.sock.send(dialogue.first_bytes) if dialogue.first_bytes else -1
        except OSError as error:
            link.refusal = 0 if error.errno in _TRANSIENT_SEND else error.errno or errno.EIO
            sent = -1
        self._epoll.register(link.fd, _WRITABLE if sent < 0 else _READABLE)
        if sent < 0:
            return
        link.connecting = False
        left = dialogue.connected(self._clock(), link.sock.getsockname)[sent:]
        if left:
            self._send(link, left)

    def _finish(self, link: _Link, now: float) -> None:
        del self._links[link.fd]
        self._closed.append(link.sock)
        entry, course, host = link.entry, link.course, link.host
        self._queue.leave(host, now)
        if link.connecting and entry.others and link.dialogue.outcome in _UNOPENED and now < course.deadline:
            self._try_next_address(entry, course, link.dialogue.outcome)
            return
        result = course.take(link.dialogue, now)
        if isinstance(result, EchoResult):
            self._record(entry.number, result)
        else:
            self._queue.come_back(host, entry, result, now)

    def _try_next_address(self, entry: Entry, course: Course, outcome: Outcome) -> None:
        """RFC 8305 without its haste: a name's addresses in the system's order until one opens."""
        entry.unopened += (f"{entry.address[0]} ended as {outcome.value}",)
        (entry.family, entry.address), *others = entry.others
        entry.others = tuple(others)
        course.try_elsewhere(describe_place(entry))
        self._queue.add(entry)

    def _record(self, number: int, result: EchoResult) -> None:
        self._results[number] = result
        self._left -= 1
        if self._on_result is not None:
            self._on_result(result)

    # The end.

    def _close(self) -> None:
        """Leave no association half open, whatever ended the loop."""
        for link in self._links.values():
            self._send(link, link.dialogue.interrupted())
            link.sock.close()
        self._links.clear()
        self._flush()
        if self._resolver is not None:
            self._resolver.close()
        self._epoll.close()

    def _complete(self) -> list[EchoResult]:
        words = "the sweep was stopped before this target had answered"
        results: list[EchoResult] = []
        for number, result in enumerate(self._results):
            if result is not None:
                results.append(result)
                continue
            unknown = EchoResult(self._targets[number], Outcome.UNKNOWN, detail=words, attempts=0)
            results.append(unknown)
            if self._on_result is not None:
                self._on_result(unknown)
        return results


def _acknowledge_quickly(sock: socket.SocketType) -> None:
    """dcmtk writes a PDU's header and its rest apart, and the rest waits for our acknowledgement (RFC 896).

    Ours would come 40 ms later (RFC 1122 4.2.3.2), and be taken for the device's time. Sending makes the kernel
    forget the option (tcp(7), TCP_QUICKACK), so that it is set after every echo.
    """
    with contextlib.suppress(OSError):  # a broken connection is left for the reading side to tell
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _count_slots(wanted: int) -> int:
    """Return how many sockets may be open at once under the limit of descriptors (getrlimit(2))."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return max(1, wanted)
    used = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return max(1, min(wanted, soft - used - _SPARE_DESCRIPTORS))
