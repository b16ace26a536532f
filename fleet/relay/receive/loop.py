"""The loop that takes connections: one thread, one selector, one buffer for all of them.

Time is bounded in three ways (T69): a peer has ten seconds to ask for an association; a message that has begun has to
come at a minimum rate from its first byte on; an association on which nothing happens is ended. Each is looked at
a few times a second for all connections, so a thousand that dribble cost a walk over a list.
"""

import os
import selectors
import socket
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from fleet.dicom.pdu import AssociateRJ, AssociateRQ
from fleet.relay.receive.admission import BUSY, TOO_MANY, Admitted, Context, Door
from fleet.relay.receive.committer import Arrival, Committer
from fleet.relay.receive.connection import FLUSH_S, Connection, Gone, NotNow, make_secure
from fleet.relay.receive.inbound import House, Inbound, TakeReport
from fleet.relay.receive.incoming import Incoming, Refusal
from fleet.relay.receive.listening import Listening
from fleet.relay.receive.places import MAX_STRANGERS, choose_victim, may_associate
from fleet.relay.spool.queue import Spool
from fleet.relay.store_command import OUT_OF_RESOURCES, UNRECOGNIZED_OPERATION, CommandSet
from fleet.relay.telling import Teller

_BUFFER_BYTES: Final = 262_144
_SWEEP_S: Final = 0.25
_FREE_LOOK_S: Final = 1.0
_SMALL_BYTES: Final = 64 * 1024**2  # an instance that is let through to its end when room runs out


class Receiver:
    """Listens; `serve` runs until `stop` was called and the associations ended or their time was over."""

    def __init__(self, spool: Spool, committer: Committer, door: Door, tell: Teller, max_associations: int) -> None:
        self.door, self.max_associations = door, max_associations
        self._spool, self._committer, self._tell = spool, committer, tell
        self._selector = selectors.DefaultSelector()
        self._connections: dict[int, Connection] = {}
        self._answers: deque[tuple[Inbound, CommandSet, int, Refusal | None]] = deque()
        self._by_inbound: dict[int, Connection] = {}
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._buffer = bytearray(_BUFFER_BYTES)
        self._listening = Listening(self._selector, tell)
        self.secure: ssl.SSLContext | None = None
        self._draining_until: float | None = None
        self._free_bytes, self._free_looked_at = 0, float("-inf")
        self.beat: Callable[[], None] = lambda: None  # called a few times a second while the loop lives
        self.take_report: TakeReport = lambda _calling, _syntax, _data: UNRECOGNIZED_OPERATION
        self._house = House(
            self._judge, self._make_incoming, self._submit, self._answered, time.time, door.max_pdu_bytes,
            self._report,
        )  # fmt: skip

    def listen(self, address: str, port: int, is_secure: bool = False) -> int:
        """Open a listening socket; returns its port. Where it is secure, nothing but TLS by `secure` is taken."""
        return self._listening.listen(address, port, is_secure)

    def change(self, door: Door, max_associations: int, secure: ssl.SSLContext | None) -> None:
        """From now on these callers, so many associations, this certificate; open ones go on as they are."""
        self.door, self.max_associations, self.secure = door, max_associations, secure

    @property
    def associations(self) -> int:
        """How many are open."""
        return sum(1 for each in list(self._connections.values()) if each.counted)

    def stop(self, drain_s: float) -> None:
        """Take no more, let open associations finish for so long. May be called from any thread or signal handler."""
        self._draining_until = time.monotonic() + drain_s
        os.eventfd_write(self._wake, 1)

    def serve(self) -> None:
        """Run the loop."""
        swept_at = time.monotonic()
        while True:
            for key, events in self._selector.select(_SWEEP_S):
                self._handle(key, events)
            now = time.monotonic()
            if now - swept_at >= _SWEEP_S:
                swept_at = now
                self._take_answers()  # whose wake-up was lost
                self._sweep(now)
                self._listening.resume()
                self.beat()
            if self._draining_until is not None and self._is_drained(now):
                break
        for connection in list(self._connections.values()):
            connection.inbound.abort("the relay stops")
            self._flush(connection)
            self._close(connection)

    def close(self) -> None:
        """Let go of what `serve` leaves."""
        self._selector.close()
        os.close(self._wake)

    def _handle(self, key: selectors.SelectorKey, events: int) -> None:
        if key.fd == self._wake:
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            self._take_answers()
        elif key.fd in self._listening:
            self._accept(key.fd)
        else:
            connection = self._connections.get(key.fd)
            if connection is None:
                return
            try:
                self._serve_one(connection, events)
            except Exception as error:  # noqa: BLE001  one odd peer must not end the loop for all others
                self._tell("connection-failed", error=type(error).__name__, address=connection.inbound.address)
                self._close(connection)

    def _serve_one(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(connection)
        if (events & selectors.EVENT_READ or connection.reads_by_writing) and connection.sock.fileno() >= 0:
            self._read(connection)

    def _is_drained(self, now: float) -> bool:
        self._listening.close()
        return not self._connections or now >= (self._draining_until or 0)

    # Connections

    def _accept(self, descriptor: int) -> None:
        for sock, address, is_secure in self._listening.accept(descriptor, self._give_back):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if is_secure:
                try:
                    sock = make_secure(sock, self.secure)  # noqa: PLW2901  the same peer, in TLS
                except OSError:  # it went away before it said anything
                    continue
            self._take(sock, address)

    def _take(self, sock: socket.socket, address: str) -> None:
        is_known = address in self.door.addresses
        self._make_room(address, is_known)
        now = time.monotonic()
        connection = Connection(sock, Inbound(address, self._house), now, is_known, now)
        self._connections[sock.fileno()] = connection
        self._by_inbound[id(connection.inbound)] = connection
        self._selector.register(sock, selectors.EVENT_READ)

    def _make_room(self, address: str, is_known: bool) -> None:
        """Silent connections of the same address, or of the same strangers, go first; associations never."""
        silent = [each for each in self._connections.values() if not each.counted and each.is_known == is_known]
        by_address = Counter(each.inbound.address for each in silent)
        if choose_victim(by_address, address, is_known):
            victim = next(each for each in silent if each.inbound.address == address)
        elif not is_known and len(silent) >= MAX_STRANGERS:
            victim = silent[0]
        else:
            return
        self._tell.count("pushed-out")
        self._close(victim)

    def _give_back(self) -> bool:
        """T69: when no descriptor is left, the stranger who has been silent longest gives his to who waits."""
        silent = (each for each in self._connections.values() if not each.counted and not each.is_known)
        victim = next(silent, None)
        if victim is None:
            return False
        self._tell.count("pushed-out")
        self._close(victim)
        return True

    def _read(self, connection: Connection) -> None:
        inbound = connection.inbound
        try:
            length = connection.read_into(self._buffer)
        except NotNow:
            self._watch(connection)
            return
        except Gone as error:
            inbound.ending = error.words or inbound.ending
            self._close(connection)
            return
        now = time.monotonic()
        with memoryview(self._buffer) as whole, whole[:length] as data:
            inbound.feed(data)
        self._count(connection)
        connection.note_bytes(length, now)
        self._flush(connection)
        if connection.has_more and not inbound.is_over:
            self._read(connection)

    def _count(self, connection: Connection) -> None:
        if connection.inbound.is_established and not connection.counted:
            connection.counted = True
            self._tell.count("association")

    def _flush(self, connection: Connection) -> None:
        inbound = connection.inbound
        try:
            connection.send_out()
        except Gone:
            self._close(connection)
            return
        if inbound.is_over:
            connection.over_at = connection.over_at or time.monotonic()
            if not inbound.out:
                self._close(connection)
                return
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        events = connection.wanted_events()
        if events != connection.events:
            connection.events = events
            self._selector.modify(connection.sock, events)

    def _close(self, connection: Connection) -> None:
        if connection.sock.fileno() < 0:
            return
        inbound = connection.inbound
        inbound.close()
        self._selector.unregister(connection.sock)
        del self._connections[connection.sock.fileno()]
        del self._by_inbound[id(inbound)]
        connection.close()
        if inbound.calling or inbound.ending != "closed":
            self._tell(
                "association-ended",
                ending=inbound.ending,
                address=inbound.address,
                calling=inbound.calling,
                called=inbound.called,
                instances=inbound.instances,
            )

    def _keep_reserve(self, now: float) -> None:
        """T61: what was begun with room enough may still be too much; the largest one goes first, and is told so."""
        if self._look_at_room(now) > 0:
            return
        begun = (each.inbound.incoming for each in self._connections.values())
        large = [each for each in begun if each and each.refusal is None and each.size_bytes > _SMALL_BYTES]
        if large:
            max(large, key=lambda each: each.size_bytes).refuse(Refusal(OUT_OF_RESOURCES, "spool: low on space"))
            self._tell.count("refused-full")
            self._free_looked_at = float("-inf")

    def _sweep(self, now: float) -> None:
        self._keep_reserve(now)
        for connection in list(self._connections.values()):
            why = connection.overdue(now)
            if why is not None:
                connection.inbound.abort(why)
                self._flush(connection)
                if connection.over_at is not None and now - connection.over_at > FLUSH_S:
                    self._close(connection)

    # What associations ask of the house

    def _judge(self, request: AssociateRQ, address: str) -> Admitted | AssociateRJ:
        verdict = self.door.judge(request, address)
        if isinstance(verdict, AssociateRJ):
            return verdict
        if self._draining_until is not None:
            return BUSY
        used = Counter(each.inbound.address for each in self._connections.values() if each.counted)
        if not may_associate(used, address, self.door.addresses, self.max_associations):
            self._tell.count("too-many")
            return TOO_MANY
        return verdict

    def _make_incoming(self, command: CommandSet, context: Context) -> Incoming | Refusal:
        if self._look_at_room(time.monotonic()) <= 0:
            self._tell.count("refused-full")
            return Refusal(OUT_OF_RESOURCES, "spool: low on space")
        spool_id = os.urandom(12).hex()
        incoming = Incoming(command, context, spool_id, self._spool.part_path(spool_id))
        incoming.begin()
        return incoming

    def _look_at_room(self, now: float) -> int:
        if now - self._free_looked_at > _FREE_LOOK_S:
            self._free_looked_at, self._free_bytes = now, 0
            with suppress(OSError):  # a disk that does not even say how full it is takes nothing more
                self._free_bytes = self._spool.free_bytes()
        return self._free_bytes

    def _report(self, calling: str, transfer_syntax: str, data: bytes) -> int:
        return self.take_report(calling, transfer_syntax, data)

    def _submit(self, arrival: Arrival) -> None:
        self._committer.submit(arrival)

    def _answered(self, inbound: Inbound, request: CommandSet, context_id: int, refusal: Refusal | None) -> None:
        self._answers.append((inbound, request, context_id, refusal))
        with suppress(OSError):
            os.eventfd_write(self._wake, 1)

    def _take_answers(self) -> None:
        while self._answers:
            inbound, request, context_id, refusal = self._answers.popleft()
            if refusal is not None:
                self._tell(
                    "refused",
                    status=f"{refusal.status:04X}",
                    why=refusal.comment,
                    instance=self._tell.hash_uid(request.sop_instance_uid),
                    calling=inbound.calling,
                )
            connection = self._by_inbound.get(id(inbound))
            if connection is None or connection.inbound is not inbound:
                continue
            connection.last_at = time.monotonic()
            inbound.stored(request, context_id, refusal)
            self._flush(connection)
