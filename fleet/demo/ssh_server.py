"""sshd of a demo host, by paramiko: one folder is its root, one key may log in, one command is run.

The shell is the real /bin/sh as whoever runs the demo; FLEET_ROOT tells fleet's scripts which folder stands
for the host. Tunnels (RFC 4254 section 7.2) start at the host's own address and end on loopback.
"""

import contextlib
import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from fleet.demo.chroot import keep_programs_inside
from fleet.demo.ports import is_loopback
from fleet.demo.units import CannotStartError
from fleet.push.root_shell import find_end

_LOG = "fleet.demo.paramiko"
_LOGIN_S = 10.0
_SCRIPT_S = 120.0
_SCRIPT_LIMIT_BYTES = 32_000_000
_CONNECT_S = 2.0
_TUNNEL_S = 30.0
_READ_BYTES = 32_768
_COMMANDS = (b"/bin/sh -s", b"sudo -n -- /bin/sh -s")


@dataclass(frozen=True, slots=True)
class Login:
    """Who this host is and who may enter: `host_key` is its own, `client_key` the public half of fleet's."""

    root: Path
    address: str
    port: int
    host_key: paramiko.PKey
    client_key: paramiko.PKey
    user: str = "fleet"


class SshServer:
    """Listens from the moment it is made until `close`."""

    def __init__(self, login: Login) -> None:
        logger = logging.getLogger(_LOG)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False  # paramiko logs what peers say, tracebacks included
        self._login = login
        self._connections: list[_Connection] = []
        self.connections_seen = 0
        try:
            self._socket = socket.create_server((login.address, login.port), backlog=32)
        except OSError as error:
            where = f"{login.address} port {login.port}"
            raise CannotStartError(f"{where}: {error.strerror}; is this hospital open in another terminal?") from error
        self._thread = threading.Thread(target=self._accept, name=f"demo-ssh-{login.root.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No more logins, and the open ones end."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._socket.accept()
            except OSError:
                return
            self.connections_seen += 1
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections = [each for each in self._connections if each.is_open]
            with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
                self._connections.append(_Connection(stream, self._login))


class _Connection(paramiko.ServerInterface):
    """One connection: what it may do (paramiko asks from the transport's thread), and the channels it opened."""

    def __init__(self, stream: socket.socket, login: Login) -> None:
        self._login = login
        self._tunnels: dict[int, socket.socket] = {}
        self._transport = paramiko.Transport(stream)
        self._transport.set_log_channel(_LOG)
        self._transport.handshake_timeout = self._transport.auth_timeout = _LOGIN_S
        self._transport.add_server_key(login.host_key)
        self._transport.start_server(event=threading.Event(), server=self)
        self._thread = threading.Thread(target=self._take_channels, name="demo-channels", daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether it still lives."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End it, with everything in it."""
        self._transport.close()
        self._thread.join(5)

    def _take_channels(self) -> None:
        """Hold every channel (paramiko itself holds them weakly), and let tunnels flow."""
        held: list[paramiko.Channel] = []
        while self._transport.is_alive():
            channel = self._transport.accept(0.2)
            held = [each for each in held if not each.closed]
            if channel is None:
                continue
            held.append(channel)
            stream = self._tunnels.pop(channel.get_id(), None)
            if stream is not None:
                _start("demo-tunnel", _serve_tunnel, channel, stream)
        for stream in self._tunnels.values():
            stream.close()

    # What paramiko asks ------------------------------------------------------------------------------

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        """Keys only."""
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """fleet's user with fleet's key, and nobody else."""
        known = username == self._login.user and key.asbytes() == self._login.client_key.asbytes()
        return paramiko.common.AUTH_SUCCESSFUL if known else paramiko.common.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        """Commands; tunnels are asked about below."""
        if kind == "session":
            return paramiko.common.OPEN_SUCCEEDED
        return paramiko.common.OPEN_FAILED_UNKNOWN_CHANNEL_TYPE

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        """A shell that reads a script, by sudo or without: on this host that makes no difference."""
        if command not in _COMMANDS:
            return False
        _start("demo-shell", _run_script, channel, self._login.root)
        return True

    def check_channel_direct_tcpip_request(
        self,
        chanid: int,
        origin: tuple[str, int],  # noqa: ARG002
        destination: tuple[str, int],
    ) -> int:
        """A tunnel from this host's own address, to loopback only."""
        if not is_loopback(destination[0]):
            return paramiko.common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        try:
            stream = socket.create_connection(destination, _CONNECT_S, (self._login.address, 0))
        except OSError:
            return paramiko.common.OPEN_FAILED_CONNECT_FAILED
        stream.settimeout(_TUNNEL_S)
        self._tunnels[chanid] = stream
        return paramiko.common.OPEN_SUCCEEDED


def _start(name: str, work: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=work, args=arguments, name=name, daemon=True).start()


def _run_script(channel: paramiko.Channel, root: Path) -> None:
    """A script comes whole before it runs; then its words, and after the last its status (RFC 4254 section 6.10)."""
    status = 255
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        for script in _read_scripts(channel):
            done = subprocess.run(
                ["/bin/sh", "-s"],
                input=keep_programs_inside(script, root),
                capture_output=True,
                timeout=_SCRIPT_S,
                check=False,
                cwd=root,
                env={"FLEET_ROOT": str(root), "PATH": os.defpath},
            )
            status = done.returncode if done.returncode >= 0 else 128 - done.returncode
            channel.sendall(done.stdout)
            channel.sendall_stderr(done.stderr)
    with contextlib.suppress(subprocess.TimeoutExpired, OSError, EOFError, paramiko.SSHException):
        channel.send_exit_status(status)
        channel.close()


def _read_scripts(channel: paramiko.Channel) -> Iterator[bytes]:
    """Each that is wrapped for the root shell, and at the end of the input what is left: a script by itself."""
    waiting = b""
    channel.settimeout(None)  # whoever is logged in may take his time
    while data := channel.recv(_READ_BYTES):
        waiting += data
        while end := find_end(waiting):
            yield waiting[:end]
            waiting = waiting[end:]
        if len(waiting) > _SCRIPT_LIMIT_BYTES:
            raise EOFError("no script of fleet's is so long")
    if waiting:
        yield waiting


def _serve_tunnel(channel: paramiko.Channel, stream: socket.socket) -> None:
    """Both ways until either side has ended."""
    channel.settimeout(_TUNNEL_S)

    def bring_back() -> None:
        _copy(stream.recv, channel.sendall)
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            channel.shutdown_write()

    back = threading.Thread(target=bring_back, name="demo-tunnel-back", daemon=True)
    back.start()
    _copy(channel.recv, stream.sendall)
    with contextlib.suppress(OSError):
        stream.shutdown(socket.SHUT_WR)
    back.join(_TUNNEL_S)
    channel.close()
    stream.close()


def _copy(receive: Callable[[int], bytes], send: Callable[[bytes], object]) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        while data := receive(_READ_BYTES):
            send(data)
