"""A host that we are logged in to: scripts by an exec channel, and connections that the host makes for us."""

import contextlib
import secrets
from dataclasses import dataclass

from fleet.errors import DeadlineExceeded, FleetError, HostError, NetworkError
from fleet.inventory.model import Host
from fleet.push.address import is_address
from fleet.push.connection import Deadline
from fleet.push.exchange import READ_BYTES, Exchange
from fleet.push.root_shell import Answer, RootShell
from fleet.push.script import Script, escape_bytes
from fleet.push.ssh.client import Client, close_all, open_tunnel, watch
from fleet.push.ssh.library import paramiko
from fleet.push.sudoers import BECOME_COMMAND, PLAIN_COMMAND
from fleet.push.transport import REPLY_LIMIT_BYTES, ByteStream, CommandResult


@dataclass(frozen=True, slots=True)
class _Root:
    """The shell that sudo gave, and the channel that it reads."""

    shell: RootShell
    channel: paramiko.Channel


class SshTransport:
    """A host that we are logged in to; `chain` ends with it and begins with the first jump."""

    def __init__(self, host: Host, chain: tuple[Client, ...]) -> None:
        self._host = host
        self._chain = chain
        self._root: _Root | None = None

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
        """On the stdin of a shell: with sudo of one below the connection's root shell, else of a channel of its own."""
        sudo = self._host.ssh.become == "sudo" if become is None else become
        deadline = Deadline(deadline_s)
        try:
            with watch(deadline, *reversed(self._chain)):
                run = self._run_as_root if sudo else self._run_alone
                exchange, channel = run(script.text, deadline, limit_bytes)
                told = isinstance(exchange, Answer) and exchange.status is not None
                if not told:
                    channel.status_event.wait(deadline.left_s)
                ended = (told or channel.exit_status_ready()) and self.is_open
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._fail(script, deadline, str(error)) from error
        if exchange.flooded:
            self.close()
            message = f"{self._host.name} sent more than {limit_bytes} bytes where a short answer was due"
            raise HostError(message, phase=script.verb)
        if not ended:
            raise self._fail(script, deadline, "the connection broke in the middle")
        status = exchange.status if isinstance(exchange, Answer) else None
        if status is None:
            channel.close()
            status = channel.exit_status
        return CommandResult(status if status >= 0 else None, bytes(exchange.stdout), bytes(exchange.stderr))

    def _run_alone(self, text: str, deadline: Deadline, limit_bytes: int) -> tuple[Exchange, paramiko.Channel]:
        channel = self._open_exec(PLAIN_COMMAND, deadline)
        exchange = Exchange(channel, text.encode(), limit_bytes)
        exchange.run()
        return exchange, channel

    def _run_as_root(self, text: str, deadline: Deadline, limit_bytes: int) -> tuple[Answer, paramiko.Channel]:
        """By the root shell that is there; by one more where that has ended, or is at work for somebody else."""
        root = self._root
        if root is None or not root.shell.claim():
            channel = self._open_exec(BECOME_COMMAND, deadline)
            root = self._root = _Root(RootShell(channel), channel)
            root.shell.claim()
        try:
            root.channel.settimeout(deadline.left_s + 1)
            return root.shell.run(text, secrets.token_hex(8), limit_bytes), root.channel
        finally:
            root.shell.release()

    def _open_exec(self, command: str, deadline: Deadline) -> paramiko.Channel:
        """An exec channel (RFC 4254 section 6.5)."""
        channel = self._chain[-1].open_session(timeout=deadline.left_s + 1)
        channel.settimeout(deadline.left_s + 1)
        channel.exec_command(command)
        return channel

    def _fail(self, script: Script, deadline: Deadline, said: str) -> FleetError:
        over = deadline.is_over
        self.close()
        if over:
            message = f"{self._host.name}: {script.verb} was not done within {deadline.seconds:g} s"
            return DeadlineExceeded(message, phase=script.verb)
        told = escape_bytes(said.encode("utf-8", "backslashreplace"))[:300] or "the connection broke"
        return NetworkError(f"{self._host.name}: {told}", phase="session")

    def open_channel(self, address: str, port: int, *, deadline_s: float) -> ByteStream:
        """The host connects to an address for us (RFC 4254 section 7.2)."""
        if not is_address(address) or not 1 <= port <= 65535:
            raise HostError(f"{self._host.name}: {address!r} port {port} is no address", phase="plan")
        where = f"{address} port {port} through {self._host.name}"
        channel = open_tunnel(self._chain[-1], (address, port), Deadline(deadline_s), where=where, phase="tunnel")
        return _ChannelStream(channel, where)

    def close(self) -> None:
        close_all(self._chain)


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
