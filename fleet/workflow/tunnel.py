"""Questions that a host of ours asks for us: the association runs through its SSH connection.

push opens the channel, verify holds the dialogue, and neither knows the other; this is where they meet.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from fleet.errors import FleetError, NetworkError
from fleet.inventory.model import Host
from fleet.push.transport import ByteStream, Connector, Transport
from fleet.verify.channel import ChannelNotOpenedError, echo_through
from fleet.verify.course import Workshop
from fleet.verify.settings import SweepSettings
from fleet.verify.values import EchoResult, EchoTarget, Outcome
from fleet.workflow.on_host import ask_by_echoscu

_CHANNELS_AT_ONCE = 8


class Brakes:
    """So many associations in all and at one device, whichever hosts ask it, and a pause between two (T54).

    A device at which several AEs live gets no more at once than the frailest of them bears.
    """

    def __init__(self, settings: SweepSettings, targets: Iterable[EchoTarget] = ()) -> None:
        self.settings = settings
        self._in_all = threading.Semaphore(settings.max_associations)
        self._most: dict[str, int] = {}
        for target in targets:
            most = target.max_associations_per_host
            self._most[target.address] = min(most, self._most.get(target.address, most))
        self._lock = threading.Lock()
        self._slots: dict[str, threading.Semaphore] = {}
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let nobody who waits begin."""
        self._stopped.set()

    def is_stopped(self) -> bool:
        """Whether those who are being asked are to be let go."""
        return self._stopped.is_set()

    @contextmanager
    def hold(self, target: EchoTarget) -> Iterator[bool]:
        """A place at the target's address; False where the run was stopped meanwhile."""
        with self._slot(target):
            with self._in_all:  # last, so that nobody holds one of these while it waits for a device
                yield not self._stopped.is_set()
            if self.settings.pause_s and not self._stopped.is_set():
                time.sleep(self.settings.pause_s)

    def _slot(self, target: EchoTarget) -> threading.Semaphore:
        allowed = self.settings.max_associations_per_host
        most = self._most.get(target.address, target.max_associations_per_host)
        with self._lock:
            if target.address not in self._slots:
                self._slots[target.address] = threading.Semaphore(min(allowed or most, most))
            return self._slots[target.address]


class _Channel:
    """push's stream in the shape of a socket, as verify's dialogue wants it."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._timeout_s = 0.0

    def settimeout(self, seconds: float | None, /) -> None:
        self._timeout_s = seconds or 0.0

    def send(self, data: bytes, /) -> int:
        try:
            self._stream.send(data, deadline_s=self._timeout_s)
        except NetworkError as error:
            raise OSError(str(error)) from error
        return len(data)

    def recv(self, size: int, /) -> bytes:
        try:
            return self._stream.receive(size, deadline_s=self._timeout_s)
        except NetworkError as error:
            if isinstance(error.__cause__, TimeoutError):
                raise TimeoutError(str(error)) from error
            raise OSError(str(error)) from error

    def close(self) -> None:
        self._stream.close()


def ask_through(
    host: Host, targets: Sequence[EchoTarget], connector: Connector, deadline_s: float, brakes: Brakes
) -> list[EchoResult]:
    """Ask all of one host's questions; where nobody can log in, all are `unknown`."""
    try:
        transport = connector.open_(host, deadline_s=deadline_s)
    except FleetError as error:
        detail = f"{host.name} could not be logged in to, so nobody asked: {error}"
        return [EchoResult(target, Outcome.UNKNOWN, detail=detail) for target in targets]
    workshop = Workshop(time.time)
    with ThreadPoolExecutor(max_workers=min(_CHANNELS_AT_ONCE, len(targets))) as pool:
        return list(pool.map(lambda target: _ask(transport, target, brakes, workshop), targets))


def _ask(transport: Transport, target: EchoTarget, brakes: Brakes, workshop: Workshop) -> EchoResult:
    forbidden = False

    def open_channel(left_s: float) -> _Channel:
        nonlocal forbidden
        deadline_s = min(left_s, target.timeouts.connect_s)
        try:
            return _Channel(transport.open_channel(target.address, target.port, deadline_s=deadline_s))
        except FleetError as error:
            forbidden = "forbids forwarding" in str(error)
            raise ChannelNotOpenedError(_outcome(str(error)), f"from {target.source}: {error}") from error

    with brakes.hold(target) as allowed:
        if not allowed:
            return EchoResult(target, Outcome.UNKNOWN, detail="the run was interrupted before this was asked")
        result = echo_through(
            open_channel, target, stop=brakes.is_stopped, workshop=workshop, echoes=brakes.settings.repeat
        )
        return ask_by_echoscu(transport, target, echoes=brakes.settings.repeat) if forbidden else result


# In this order: what the host says comes behind what push says of it. All else is the prober's trouble, not the peer's.
_TUNNEL_WORDS = (
    ("prohibited", Outcome.UNKNOWN),
    ("forbid", Outcome.UNKNOWN),
    ("refused", Outcome.REFUSED),
    ("no route", Outcome.NO_ROUTE),
    ("unreachable", Outcome.NO_ROUTE),
    ("timed out", Outcome.CONNECT_TIMEOUT),
    ("no answer within", Outcome.CONNECT_TIMEOUT),
    ("unknown host", Outcome.NAME_NOT_FOUND),
    ("name or service not known", Outcome.NAME_NOT_FOUND),
    ("could not connect", Outcome.REFUSED),
)


def _outcome(words: str) -> Outcome:
    """What a server's refusal to open a channel means (RFC 4254 section 5.1), as far as its words tell."""
    lowered = words.lower()
    return next((outcome for word, outcome in _TUNNEL_WORDS if word in lowered), Outcome.UNKNOWN)
