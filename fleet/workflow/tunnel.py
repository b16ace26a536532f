"""Questions that a host of ours asks for us: the association runs through its SSH connection.

push opens the channel, verify holds the dialogue, and neither knows the other; this is where they meet.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fleet.errors import FleetError, NetworkError
from fleet.inventory.model import Host
from fleet.push.transport import ByteStream, Connector, Transport
from fleet.verify.channel import ChannelNotOpenedError, echo_through
from fleet.verify.values import EchoResult, EchoTarget, Outcome

_CHANNELS_AT_ONCE = 8


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


def ask_through(host: Host, targets: Sequence[EchoTarget], connector: Connector, deadline_s: float) -> list[EchoResult]:
    """Ask all of one host's questions; where nobody can log in, all are `unknown`."""
    try:
        transport = connector.open_(host, deadline_s=deadline_s)
    except FleetError as error:
        detail = f"{host.name} could not be logged in to, so nobody asked: {error}"
        return [EchoResult(target, Outcome.UNKNOWN, detail=detail) for target in targets]
    with ThreadPoolExecutor(max_workers=min(_CHANNELS_AT_ONCE, len(targets))) as pool:
        return list(pool.map(lambda target: _ask(transport, target), targets))


def _ask(transport: Transport, target: EchoTarget) -> EchoResult:
    def open_channel(left_s: float) -> _Channel:
        deadline_s = min(left_s, target.timeouts.connect_s)
        try:
            return _Channel(transport.open_channel(target.address, target.port, deadline_s=deadline_s))
        except FleetError as error:
            raise ChannelNotOpenedError(_outcome(str(error)), f"from {target.source}: {error}") from error

    return echo_through(open_channel, target)


def _outcome(words: str) -> Outcome:
    """What a server's refusal to open a channel means (RFC 4254 section 5.1), as far as its words tell."""
    lowered = words.lower()
    if "prohibited" in lowered or "forbid" in lowered:
        return Outcome.UNKNOWN
    if "refused" in lowered:
        return Outcome.REFUSED
    if "no route" in lowered or "unreachable" in lowered:
        return Outcome.NO_ROUTE
    if "timed out" in lowered or "within" in lowered or "deadline" in lowered:
        return Outcome.CONNECT_TIMEOUT
    return Outcome.UNKNOWN if "log" in lowered else Outcome.REFUSED
