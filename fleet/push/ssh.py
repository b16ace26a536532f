"""SSH by paramiko, and only here. What this module is built around:

paramiko's timeouts are per read, some calls have none at all (`exec_command`, `recv_exit_status`), and a
channel stands still when nobody empties its 2 MiB window. So every phase has one total deadline kept by a
watchdog that closes the socket, both output streams are emptied by threads of their own, and a connection
that missed a deadline is never used again. Host keys are judged before anything is sent. There is no
prompt, no password, no forwarding, and no local shell anywhere.
"""

import base64
import contextlib
import logging
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
from paramiko.agent import AgentSSH

from fleet.errors import DeadlineExceeded, FleetError, HostError, NetworkError
from fleet.inventory.model import Host
from fleet.push.address import check_ssh_words, is_address, parse_jump
from fleet.push.connection import Deadline, connect
from fleet.push.exchange import READ_BYTES, Exchange
from fleet.push.host_keys import HostKey, KnownKeys, check_host_key, find_known_keys
from fleet.push.script import Script, escape_bytes
from fleet.push.sudoers import BECOME_COMMAND, PLAIN_COMMAND
from fleet.push.transport import REPLY_LIMIT_BYTES, ByteStream, CommandResult, Transport

_LOG = "fleet.push.paramiko"
_MAX_JUMPS = 4
_MAX_KEYS = 6  # sshd's MaxAuthTries; more offers than that close the door
# RFC 8332: one RSA key, three signature algorithms.
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


@dataclass(frozen=True, slots=True)
class SshOptions:
    """What the person who runs fleet brings: keys of their own, a known_hosts file, an agent's socket.

    `identity_files` and the agent serve hosts that name no `identity_file`; files that do not exist are
    passed over. `home` is what `~` in an `identity_file` stands for.
    """

    identity_files: tuple[Path, ...] = ()
    known_hosts: Path | None = None
    agent_socket: str | None = None
    home: Path | None = None


@contextlib.contextmanager
def _watch(deadline: Deadline, *closables: paramiko.Transport | socket.socket) -> Iterator[None]:
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


class SshConnector:
    """Logs in to hosts; `hosts` is where a `jump` that is a host's name is looked up."""

    def __init__(self, hosts: Mapping[str, Host], options: SshOptions | None = None) -> None:
        self._hosts = hosts
        self._options = options or SshOptions()
        logger = logging.getLogger(_LOG)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False  # paramiko logs what peers say, tracebacks included

    def open_(self, host: Host, *, deadline_s: float) -> Transport:
        """Logged in, all hops, within the deadline; NetworkError names the phase that failed."""
        deadline = Deadline(deadline_s)
        chain = self._open_chain(host, deadline)
        hop = _Hop(host, chain, self._options, deadline)
        with hop.closing_on_failure():
            hop.greet()
            hop.check_host_key()
            hop.log_in()
        return _SshTransport(host, tuple(chain))

    def fetch_host_keys(self, host: Host, *, deadline_s: float) -> tuple[HostKey, ...]:
        """Every kind of key that the host has; logs in nowhere but at the jumps before it."""
        deadline = Deadline(deadline_s)
        found: list[HostKey] = []
        for kinds in (("ssh-ed25519",), ("ecdsa-sha2-nistp256",), ("rsa-sha2-512", "rsa-sha2-256")):
            chain = self._open_chain(host, deadline)
            hop = _Hop(host, chain, self._options, deadline)
            try:
                hop.greet(kinds)
                found.append(hop.read_host_key())
            except _NoSuchKind:
                continue
            finally:
                hop.close()
        return tuple(found)

    def _open_chain(self, host: Host, deadline: Deadline) -> list[paramiko.Transport]:
        """Transports to every jump (logged in) and, last, to the host (not greeted yet)."""
        chain: list[paramiko.Transport] = []
        try:
            for hop in self._list_hops(host)[:-1]:
                chain.append(_make_transport(hop, chain, deadline))
                ready = _Hop(hop, chain, self._options, deadline)
                ready.greet()
                ready.check_host_key()
                ready.log_in()
            chain.append(_make_transport(host, chain, deadline))
        except FleetError:
            _close_all(chain)
            raise
        return chain

    def _list_hops(self, host: Host) -> list[Host]:
        check_ssh_words(host)
        hops = [host]
        while hops[0].ssh.jump is not None:
            name = hops[0].ssh.jump
            jump = self._hosts.get(name) or parse_jump(name, hops[0])
            check_ssh_words(jump)
            if len(hops) > _MAX_JUMPS or any(jump.name == hop.name for hop in hops):
                raise HostError(f"{host.name}: its jumps go round in a circle or are too many", phase="plan")
            hops.insert(0, jump)
        return hops


def fetch_host_keys(
    host: Host,
    *,
    deadline_s: float,
    hosts: Mapping[str, Host] | None = None,
    options: SshOptions | None = None,
) -> tuple[HostKey, ...]:
    """What `fleet trust` shows: the host's keys, as it presents them now."""
    return SshConnector(hosts or {}, options).fetch_host_keys(host, deadline_s=deadline_s)


class _NoSuchKind(FleetError):
    """The host has no key of that kind."""


def _make_transport(host: Host, chain: Sequence[paramiko.Transport], deadline: Deadline) -> paramiko.Transport:
    """A transport over a connection that we, or the last jump, opened."""
    where = f"{host.name} ({host.address} port {host.ssh.port})"
    stream: paramiko.Channel | socket.socket
    if chain:
        target = (host.address, host.ssh.port)
        stream = _open_tunnel(chain[-1], target, deadline, where=f"{where} through its jump", phase="connect")
    else:
        stream = connect(host.address, host.ssh.port, deadline, where)
    try:
        transport = _Client(stream)
    except paramiko.SSHException as error:
        raise NetworkError(f"{where}: {error}", phase="connect") from error
    transport.set_log_channel(_LOG)
    transport.banner_timeout = transport.handshake_timeout = deadline.left_s + 1
    transport.auth_timeout = transport.channel_timeout = deadline.left_s + 1
    return transport


# RFC 4254 section 5.1: reason codes of SSH_MSG_CHANNEL_OPEN_FAILURE.
_TUNNEL_REASONS = {
    1: "the host forbids forwarding (AllowTcpForwarding)",
    2: "the host could not connect",
    3: "the host knows no such channel",
    4: "the host is short of resources",
}
_STUCK_S = 0.5  # how long after its deadline an opening that does not return means that the connection stands still


class _Client(paramiko.Transport):
    """A transport on which many channels may be opened at once.

    paramiko keeps one exception for all of them, so that one gets its neighbour's reason or none; and a channel
    that is confirmed after nobody waits any longer stays open on the host. Here each has its own, and such a
    channel is closed.
    """

    def __init__(self, stream: paramiko.Channel | socket.socket) -> None:
        self._opening: dict[int, int] = {}  # thread -> the channel that it opens
        self._refusals: dict[int, paramiko.ChannelException] = {}
        super().__init__(stream)

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


def _open_tunnel(
    transport: paramiko.Transport, target: tuple[str, int], deadline: Deadline, *, where: str, phase: str
) -> paramiko.Channel:
    """One channel; others on the same connection live on when its deadline passes."""
    try:
        with _watch(Deadline(deadline.left_s + _STUCK_S), transport):
            return transport.open_channel("direct-tcpip", target, ("127.0.0.1", 0), timeout=deadline.left_s)
    except paramiko.ChannelException as error:
        reason = _TUNNEL_REASONS.get(error.code, "the host opened no channel")
        said = escape_bytes(error.text.encode("utf-8", "backslashreplace")[:200])
        raise NetworkError(f"{where}: {reason}{f': {said}' if said else ''}", phase=phase) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        if deadline.is_over:
            raise NetworkError(f"{where}: no answer within {deadline.seconds:g} s", phase=phase) from error
        raise NetworkError(f"{where}: the connection broke: {error}", phase=phase) from error


@dataclass(slots=True)
class _Hop:
    """The last transport of a chain on its way from connected to logged in."""

    host: Host
    chain: list[paramiko.Transport]
    options: SshOptions
    deadline: Deadline
    known: KnownKeys = field(default_factory=KnownKeys)

    @property
    def transport(self) -> paramiko.Transport:
        return self.chain[-1]

    @property
    def where(self) -> str:
        return f"{self.host.name} ({self.host.address} port {self.host.ssh.port})"

    def close(self) -> None:
        _close_all(self.chain)

    @contextlib.contextmanager
    def closing_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def greet(self, kinds: Sequence[str] = ()) -> None:
        """Banner and key exchange (RFC 4253 sections 4.2 and 7)."""
        self._prefer(kinds)
        done = threading.Event()
        with _watch(self.deadline, self.transport):
            self.transport.start_client(event=done)
            done.wait(self.deadline.left_s)
        if self.transport.is_active() and done.is_set() and not self.deadline.is_over:
            return
        error = self.transport.get_exception()
        if kinds and isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
            raise _NoSuchKind(str(error))
        raise self._fail("handshake", error, "did not finish the SSH handshake")

    def _prefer(self, kinds: Sequence[str]) -> None:
        """Known kinds first: a host that has several keys then presents the one that is pinned."""
        try:
            self.known = self._read_known_keys()
        except ValueError as error:
            raise HostError(f"{self.host.name}: host_keys: {error}", phase="plan") from error
        security = self.transport.get_security_options()
        offered = list(security.key_types)
        pinned = [name for key in self.known.trusted for name in _ALGORITHMS.get(key.kind, (key.kind,))]
        first = [kind for kind in dict.fromkeys(pinned) if kind in offered]
        security.key_types = tuple(kinds) or (*first, *(kind for kind in offered if kind not in first))

    def _read_known_keys(self) -> KnownKeys:
        text = ""
        if self.options.known_hosts is not None:
            with contextlib.suppress(OSError):
                text = self.options.known_hosts.read_text("utf-8", "replace")
        return find_known_keys(self.host.host_keys, text, self.host.address, self.host.ssh.port)

    def read_host_key(self) -> HostKey:
        try:
            key = self.transport.get_remote_server_key()
        except paramiko.SSHException as error:
            raise self._fail("handshake", error, "broke the connection") from error
        return HostKey(key.get_name(), key.asbytes())

    def check_host_key(self) -> None:
        refusal = check_host_key(self.read_host_key(), self.known, self.where)
        if refusal is not None:
            raise NetworkError(refusal, phase="host_key")

    def log_in(self) -> None:
        """Public keys only (RFC 4252 section 7); each key once."""
        offered: list[str] = []
        agent = _open_agent(self.options.agent_socket, self.deadline)
        try:
            for name, key in self._list_keys(agent):
                offered.append(name)
                if self._try_key(key):
                    return
        finally:
            if agent is not None:
                agent.close()
        tried = ", ".join(offered) if offered else "no key to offer: name an identity_file, or load an agent"
        raise NetworkError(f"{self.where}: {self.host.ssh.user} was not let in with {tried}", phase="login")

    def _try_key(self, key: paramiko.PKey) -> bool:
        try:
            with _watch(self.deadline, self.transport):
                self.transport.auth_publickey(self.host.ssh.user, key)
        except paramiko.BadAuthenticationType as error:
            kinds = ", ".join(error.allowed_types)
            raise NetworkError(f"{self.where}: it takes no keys, only {kinds}", phase="login") from error
        except paramiko.AuthenticationException as error:
            if self.deadline.is_over or not self.transport.is_active():
                raise self._fail("login", error, "did not answer the login") from error
            return False
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._fail("login", error, "did not answer the login") from error
        # A partial success (a second factor is wanted) leaves us outside.
        return self.transport.is_authenticated()

    def _list_keys(self, agent: "_Agent | None") -> list[tuple[str, paramiko.PKey]]:
        named = self.host.ssh.identity_file
        agent_keys = list(agent.get_keys()) if agent else []
        if named is not None:
            return [(named, _read_key(self._expand(named), agent_keys, self.where))]
        keys: list[tuple[str, paramiko.PKey]] = [(f"agent key {key.get_name()}", key) for key in agent_keys]
        for path in self.options.identity_files:
            with contextlib.suppress(NetworkError):  # a key of the person's own that does not fit is not an error
                keys.append((str(path), _read_key(path, agent_keys, self.where)))
        return keys[:_MAX_KEYS]

    def _expand(self, named: str) -> Path:
        home = self.options.home
        return home / named.removeprefix("~/") if home is not None and named.startswith("~/") else Path(named)

    def _fail(self, phase: str, error: BaseException | None, what: str) -> NetworkError:
        if self.deadline.is_over:
            return NetworkError(f"{self.where} {what} within {self.deadline.seconds:g} s", phase=phase)
        said = str(error) if error and str(error) else "it closed the connection"
        return NetworkError(f"{self.where} {what}: {said}", phase=phase)


def _read_key(path: Path, agent_keys: Sequence[paramiko.PKey], where: str) -> paramiko.PKey:
    """A private key; one with a passphrase is looked for in the agent, by its public half."""
    try:
        key: paramiko.PKey = paramiko.PKey.from_path(path)
    except FileNotFoundError as error:
        raise NetworkError(f"{where}: identity file {path} does not exist", phase="login") from error
    except Exception as error:  # the crypto library's own families
        blob = _read_public_blob(path)
        for candidate in agent_keys:
            if blob is not None and candidate.asbytes() == blob:
                return candidate
        raise NetworkError(
            f"{where}: identity file {path} cannot be used ({error}); fleet asks for no "
            "passphrase: load it in an agent",
            phase="login",
        ) from error
    return key


def _read_public_blob(path: Path) -> bytes | None:
    try:
        words = Path(f"{path}.pub").read_text("ascii").split()
        return base64.b64decode(words[1], validate=True)
    except (OSError, ValueError, IndexError):
        return None


class _Agent(AgentSSH):
    """A running ssh-agent, by its socket's path; it may ask its owner, but not for ever."""

    def __init__(self, path: str, deadline: Deadline) -> None:
        super().__init__()
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(max(deadline.left_s, 0.001))
        try:
            stream.connect(path)
            self._connect(stream)  # type: ignore[attr-defined] # the stubs know no private names
        except BaseException:
            stream.close()
            raise

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined] # as above


def _open_agent(path: str | None, deadline: Deadline) -> _Agent | None:
    """The agent, or None where there is none: then files have to do."""
    if path is None:
        return None
    try:
        return _Agent(path, deadline)
    except (OSError, paramiko.SSHException):
        return None


def _close_all(chain: Sequence[paramiko.Transport]) -> None:
    for transport in reversed(chain):
        with contextlib.suppress(Exception):
            transport.close()


class _SshTransport:
    """A host that we are logged in to; `chain` ends with it and begins with the first jump."""

    def __init__(self, host: Host, chain: tuple[paramiko.Transport, ...]) -> None:
        self._host = host
        self._chain = chain

    @property
    def is_open(self) -> bool:
        return all(transport.is_active() for transport in self._chain)

    def run_script(
        self,
        script: Script,
        *,
        deadline_s: float,
        limit_bytes: int = REPLY_LIMIT_BYTES,
        become: bool | None = None,
    ) -> CommandResult:
        """One exec channel (RFC 4254 section 6.5), the script on its stdin."""
        sudo = self._host.ssh.become == "sudo" if become is None else become
        deadline = Deadline(deadline_s)
        try:
            with _watch(deadline, *reversed(self._chain)):
                channel = self._chain[-1].open_session(timeout=deadline.left_s + 1)
                channel.settimeout(deadline.left_s + 1)
                channel.exec_command(BECOME_COMMAND if sudo else PLAIN_COMMAND)
                exchange = Exchange(channel, script.text.encode(), limit_bytes)
                exchange.run()
                channel.status_event.wait(deadline.left_s)
                ended = channel.exit_status_ready() and self.is_open
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._fail(script, deadline, str(error)) from error
        if exchange.flooded:
            self.close()
            message = f"{self._host.name} sent more than {limit_bytes} bytes where a short answer was due"
            raise HostError(message, phase=script.verb)
        if not ended:
            raise self._fail(script, deadline, "the connection broke in the middle")
        channel.close()
        status = channel.exit_status
        return CommandResult(status if status >= 0 else None, bytes(exchange.stdout), bytes(exchange.stderr))

    def _fail(self, script: Script, deadline: Deadline, said: str) -> FleetError:
        over = deadline.is_over
        self.close()
        if over:
            message = f"{self._host.name}: {script.verb} was not done within {deadline.seconds:g} s"
            return DeadlineExceeded(message, phase=script.verb)
        return NetworkError(f"{self._host.name}: {said or 'the connection broke'}", phase="session")

    def open_channel(self, address: str, port: int, *, deadline_s: float) -> ByteStream:
        """The host connects to an address for us (RFC 4254 section 7.2)."""
        if not is_address(address) or not 1 <= port <= 65535:
            raise HostError(f"{self._host.name}: {address!r} port {port} is no address", phase="plan")
        where = f"{address} port {port} through {self._host.name}"
        channel = _open_tunnel(self._chain[-1], (address, port), Deadline(deadline_s), where=where, phase="tunnel")
        return _ChannelStream(channel, where)

    def close(self) -> None:
        _close_all(self._chain)


class _ChannelStream:
    """A direct-tcpip channel as a byte stream with deadlines."""

    def __init__(self, channel: paramiko.Channel, where: str) -> None:
        self._channel = channel
        self._where = where

    def send(self, data: bytes, *, deadline_s: float) -> None:
        deadline = Deadline(deadline_s)
        view = memoryview(data)
        while view:
            self._channel.settimeout(max(deadline.left_s, 0.001))
            try:
                sent = self._channel.send(bytes(view[:READ_BYTES]))
            except OSError as error:
                raise NetworkError(f"{self._where}: {error}", phase="tunnel") from error
            if sent == 0:
                raise NetworkError(f"{self._where}: the connection is closed", phase="tunnel")
            view = view[sent:]

    def receive(self, limit_bytes: int, *, deadline_s: float) -> bytes:
        self._channel.settimeout(max(deadline_s, 0.001))
        try:
            return bytes(self._channel.recv(limit_bytes))
        except TimeoutError as error:
            raise NetworkError(f"{self._where}: nothing came within {deadline_s:g} s", phase="tunnel") from error
        except OSError as error:
            raise NetworkError(f"{self._where}: {error}", phase="tunnel") from error

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._channel.close()
