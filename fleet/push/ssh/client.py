"""paramiko's transport, made fit for us. What it is built around:

paramiko's timeouts are per read, some calls have none at all (`exec_command`, `recv_exit_status`), and a
channel stands still when nobody empties its 2 MiB window. So every phase has one total deadline kept by a
watchdog that closes the socket, and a connection that missed a deadline is never used again.
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from fleet.errors import NetworkError
from fleet.push.connection import Deadline, connect
from fleet.push.script import escape_bytes
from fleet.push.ssh.hops import Hop
from fleet.push.ssh.library import paramiko

_LOG = "fleet.push.paramiko"


def silence_log() -> None:
    """paramiko logs what peers say, tracebacks included."""
    logger = logging.getLogger(_LOG)
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


@contextlib.contextmanager
def watch(deadline: Deadline, *closables: paramiko.Transport | socket.socket) -> Iterator[None]:
    """Closes what a phase works on when its time is over; whatever blocks there then returns."""

    def close() -> None:
        for each in closables:
            with contextlib.suppress(Exception):
                each.close()

    timer = threading.Timer(deadline.left_s, close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# RFC 4254 section 5.1: reason codes of SSH_MSG_CHANNEL_OPEN_FAILURE.
_TUNNEL_REASONS = {
    1: "the host forbids forwarding (AllowTcpForwarding)",
    2: "the host could not connect",
    3: "the host knows no such channel",
    4: "the host is short of resources",
}
_PACKET_BYTES = 256 * 1024
_GREETING_BYTES = 64 * 1024
_STUCK_S = 0.5  # how long after its deadline an opening that does not return means that the connection stands still


class Packets(paramiko.packet.Packetizer):
    """paramiko takes any length that a peer claims, 4 GB before anybody knows who it is, and holds it in memory; and a
    greeting without an end it reads by 128 bytes until the deadline, all of a processor's time."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._greeting_bytes = 0

    def _read_timeout(self, timeout: float) -> bytes:
        """What is read before the first packet: the greeting, and lines before it (RFC 4253 section 4.2)."""
        data: bytes = super()._read_timeout(timeout)  # type: ignore[misc]  # the stubs know no private names
        self._greeting_bytes += len(data)
        if self._greeting_bytes > _GREETING_BYTES:
            raise paramiko.SSHException(f"; it said more than {_GREETING_BYTES} bytes before its greeting")
        return data

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """As paramiko's, for lengths that are any: RFC 4253 section 6.1 asks for 35,000 bytes, OpenSSH takes 256 KB."""
        if n > _PACKET_BYTES:
            raise paramiko.SSHException(f"it announced a packet of {n} bytes, and {_PACKET_BYTES} are the most")
        return super().read_all(n, check_rekey)


class Client(paramiko.Transport):
    """A transport on which many channels may be opened at once.

    paramiko keeps one exception for all of them, so that one gets its neighbour's reason or none; and a channel
    that is confirmed after nobody waits any longer stays open on the host. Here each has its own, and such a
    channel is closed.
    """

    def __init__(self, stream: paramiko.Channel | socket.socket) -> None:
        self._opening: dict[int, int] = {}  # thread -> the channel that it opens
        self._refusals: dict[int, paramiko.ChannelException] = {}
        self._unanswered = 0
        super().__init__(stream, packetizer_class=Packets)

    def watch_peer(self, every_s: int, misses: int) -> None:
        """Ask a silent peer for a sign of life, and close when it owes so many (ssh_config(5) ServerAliveInterval).

        paramiko's own keepalive wants no answer, so that a peer behind a jump could vanish unnoticed.
        """

        def ask() -> None:
            if self._unanswered >= misses:
                self.packetizer.close()
                return
            self._unanswered += 1
            question = paramiko.Message()
            question.add_byte(bytes((paramiko.common.MSG_GLOBAL_REQUEST,)))
            question.add_string("keepalive@openssh.com")
            question.add_boolean(True)
            self._send_user_message(question)  # type: ignore[attr-defined]  # the stubs know no private names

        self.packetizer.set_keepalive(every_s, ask)

    def _parse_request_success(self, message: paramiko.Message) -> None:
        self._unanswered = 0
        super()._parse_request_success(message)  # type: ignore[misc]  # as above

    def _parse_request_failure(self, message: paramiko.Message) -> None:
        """RFC 4254 section 4: whoever does not know the request says so, and lives."""
        self._unanswered = 0
        super()._parse_request_failure(message)  # type: ignore[misc]  # as above

    def open_channel(self, *arguments: Any, **options: Any) -> paramiko.Channel:
        """As paramiko's, but for the reason of a refusal."""
        me = threading.get_ident()
        try:
            return super().open_channel(*arguments, **options)
        except paramiko.SSHException:
            refusal = self._refusals.pop(self._opening.get(me, -1), None)
            if refusal is None:
                raise
            raise refusal from None
        finally:
            self._opening.pop(me, None)

    def _next_channel(self) -> int:
        number: int = super()._next_channel()  # type: ignore[misc]  # the stubs know no private names
        self._opening[threading.get_ident()] = number
        return number

    def _parse_channel_open_failure(self, message: paramiko.Message) -> None:
        number, code, text = message.get_int(), message.get_int(), message.get_text()
        if number in self.channel_events:
            self._refusals[number] = paramiko.ChannelException(code, text)
        message.rewind()
        super()._parse_channel_open_failure(message)  # type: ignore[misc]  # as above
        self.saved_exception = None

    def _parse_channel_open_success(self, message: paramiko.Message) -> None:
        number, theirs = message.get_int(), message.get_int()
        if self._channels.get(number) is None:  # type: ignore[attr-defined]  # as above
            close = paramiko.Message()
            close.add_byte(bytes((paramiko.common.MSG_CHANNEL_CLOSE,)))
            close.add_int(theirs)
            self._send_user_message(close)  # type: ignore[attr-defined]  # as above
            return
        message.rewind()
        super()._parse_channel_open_success(message)  # type: ignore[misc]  # as above


def open_tunnel(
    transport: paramiko.Transport, target: tuple[str, int], deadline: Deadline, *, where: str, phase: str
) -> paramiko.Channel:
    """One channel; others on the same connection live on when its deadline passes."""
    try:
        with watch(Deadline(deadline.left_s + _STUCK_S), transport):
            return transport.open_channel("direct-tcpip", target, ("127.0.0.1", 0), timeout=deadline.left_s)
    except paramiko.ChannelException as error:
        reason = _TUNNEL_REASONS.get(error.code, "the host opened no channel")
        said = escape_bytes(error.text.encode("utf-8", "backslashreplace")[:200])
        raise NetworkError(f"{where}: {reason}{f': {said}' if said else ''}", phase=phase) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        if deadline.is_over:
            raise NetworkError(f"{where}: no answer within {deadline.seconds:g} s", phase=phase) from error
        raise NetworkError(f"{where}: the connection broke: {error}", phase=phase) from error


def make_client(hop: Hop, chain: Sequence[Client], deadline: Deadline) -> Client:
    """A transport over a connection that we, or the last jump, opened; nothing has been said on it."""
    stream: paramiko.Channel | socket.socket
    if chain:
        target = (hop.address, hop.port)
        stream = open_tunnel(chain[-1], target, deadline, where=f"{hop.where} through its jump", phase="connect")
    else:
        stream = connect(hop.address, hop.port, deadline, hop.where)
    try:
        client = Client(stream)
    except paramiko.SSHException as error:
        raise NetworkError(f"{hop.where}: {error}", phase="connect") from error
    client.set_log_channel(_LOG)
    client.banner_timeout = client.handshake_timeout = deadline.left_s + 1
    client.auth_timeout = client.channel_timeout = deadline.left_s + 1
    return client


def close_all(chain: Sequence[paramiko.Transport]) -> None:
    """The last first; never raises."""
    for transport in reversed(chain):
        with contextlib.suppress(Exception):
            transport.close()
