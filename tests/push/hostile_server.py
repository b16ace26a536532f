"""Servers that misbehave: raw sockets before the login, a scripted SSH server after it."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_PARTIALLY_SUCCESSFUL, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

MUCH_BYTES = 5 * 2**20
Behaviour = Callable[[socket.socket, threading.Event], None]


def say_nothing(_client: socket.socket, stop: threading.Event) -> None:
    stop.wait(20)


def greet_and_hang(client: socket.socket, stop: threading.Event) -> None:
    client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    stop.wait(20)


def greet_slowly(client: socket.socket, stop: threading.Event) -> None:
    for byte in b"SSH-2.0-OpenSSH_9.2" * 50:
        client.sendall(bytes([byte]))
        if stop.wait(0.05):
            return


def chat_before_the_greeting(client: socket.socket, stop: threading.Event) -> None:
    while not stop.wait(0.001):
        client.sendall(b"welcome to our jump station, please wait\r\n")


def send_one_endless_line(client: socket.socket, stop: threading.Event) -> None:
    while not stop.is_set():
        client.sendall(b"w" * 4096)


def announce_a_huge_packet(client: socket.socket, stop: threading.Event) -> None:
    """And then send it, as fast as it goes (RFC 4253 section 6: the length comes first, and in clear)."""
    client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" + (0x3FFFFFFC).to_bytes(4, "big") + b"\x04")
    while not stop.is_set():
        client.sendall(bytes(1 << 20))


def greet_with_escapes(client: socket.socket, stop: threading.Event) -> None:
    """What a terminal would obey, in place of a greeting."""
    while not stop.is_set():
        client.sendall(b"\x1b]0;owned\x07\x1b[2J\xc2\x9b31m \xe2\x80\xae\r\n")


def hang_in_the_key_exchange(client: socket.socket, stop: threading.Event) -> None:
    """A true offer of algorithms, and then nothing."""
    client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    algorithms = "curve25519-sha256 ssh-ed25519 aes256-ctr aes256-ctr hmac-sha2-256 hmac-sha2-256 none none"
    lists = [*algorithms.split(), "", ""]
    names = b"".join(len(each).to_bytes(4, "big") + each.encode() for each in lists)
    payload = b"\x14" + bytes(16) + names + bytes(5)  # RFC 4253 section 7.1
    padding = 8 - (len(payload) + 5) % 8 + 8
    client.sendall((len(payload) + padding + 1).to_bytes(4, "big") + bytes([padding]) + payload + bytes(padding))
    stop.wait(20)


def send_junk_for_a_key_exchange(client: socket.socket, stop: threading.Event) -> None:
    client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" + b"\xff\xff\xff\xff" + b"\x00" * 64)
    stop.wait(20)


def hang_up(client: socket.socket, _stop: threading.Event) -> None:
    client.close()


def speak_http(client: socket.socket, stop: threading.Event) -> None:
    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    stop.wait(20)


@contextmanager
def misbehaving(behaviour: Behaviour) -> Iterator[int]:
    """A port where every connection is treated like that."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            behaviour(client, stop)

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(client,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            listener.close()
            for thread in threads:
                thread.join(2)


class ScriptedServer(paramiko.ServerInterface):
    """Lets everybody in and then does as its `script` says: to a login, to an exec, to its channel."""

    def __init__(self, script: str, stop: threading.Event) -> None:
        self.script = script
        self.stop = stop

    def get_allowed_auths(self, username: str) -> str:
        wanted = {
            "wants-password": "password",
            "wants-an-answer": "keyboard-interactive",
            "wants-a-second-factor": "keyboard-interactive",
        }
        return wanted.get(self.script, "publickey")

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if self.script == "hang-in-login":
            self.stop.wait(20)
        if self.script == "wants-a-second-factor":
            return AUTH_PARTIALLY_SUCCESSFUL
        return AUTH_FAILED if self.script.startswith("wants-") else AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if self.script == "hang-in-session":
            self.stop.wait(20)
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if self.script == "hang-in-exec":
            self.stop.wait(20)
        threading.Thread(target=self._answer, args=(channel,), daemon=True).start()
        return True

    def _answer(self, channel: paramiko.Channel) -> None:
        with contextlib.suppress(OSError, EOFError):
            _ANSWERS.get(self.script, _say_it)(channel, self.stop, self.script)


def _end(channel: paramiko.Channel, status: int) -> None:
    channel.send_exit_status(status)
    channel.close()


def _say_it(channel: paramiko.Channel, _stop: threading.Event, script: str) -> None:
    channel.recv(1)  # an answer before the request was granted would be a refusal of the request
    channel.sendall(script.encode())
    _end(channel, 0)


def _flood(channel: paramiko.Channel, stop: threading.Event, _script: str) -> None:
    while not stop.is_set():
        channel.sendall(b"x" * 32_000)


def _flood_errors(channel: paramiko.Channel, stop: threading.Event, _script: str) -> None:
    while not stop.is_set():
        channel.sendall_stderr(b"x" * 32_000)


def _say_much_on_both(channel: paramiko.Channel, _stop: threading.Event, _script: str) -> None:
    """Each more than two windows, and stderr first: whoever reads one stream after the other stands still."""
    channel.sendall_stderr(b"e" * MUCH_BYTES)
    channel.sendall(b"o" * MUCH_BYTES)
    _end(channel, 3)


def _say_much(channel: paramiko.Channel, _stop: threading.Event, _script: str) -> None:
    """What is sent to it stays in its window, which is full after 2 MiB."""
    channel.sendall(b"o" * MUCH_BYTES)
    _end(channel, 3)


def _wait(_channel: paramiko.Channel, stop: threading.Event, _script: str) -> None:
    stop.wait(20)


def _chatter(channel: paramiko.Channel, stop: threading.Event, _script: str) -> None:
    while not stop.is_set():
        channel.get_transport().send_ignore(1000)


def _dribble(channel: paramiko.Channel, stop: threading.Event, _script: str) -> None:
    while not stop.wait(0.05):
        channel.sendall(b".")


def _never_exit(channel: paramiko.Channel, stop: threading.Event, _script: str) -> None:
    channel.shutdown_write()
    stop.wait(20)


def _hang_up(channel: paramiko.Channel, _stop: threading.Event, _script: str) -> None:
    channel.get_transport().close()


_ANSWERS: Mapping[str, Callable[[paramiko.Channel, threading.Event, str], None]] = {
    "endless-output": _flood,
    "endless-errors": _flood_errors,
    "much-on-both": _say_much_on_both,
    "much-and-reads-nothing": _say_much,
    "reads-nothing": _wait,
    "endless-chatter": _chatter,
    "dribble": _dribble,
    "never-exits": _never_exit,
    "hang-up": _hang_up,
}


@contextmanager
def scripted(script: str, host_key: paramiko.PKey) -> Iterator[int]:
    """An SSH server that does as the script says."""
    transports: list[paramiko.Transport] = []

    def serve(client: socket.socket, stop: threading.Event) -> None:
        transport = paramiko.Transport(client)
        transport.set_log_channel("fleet.push.paramiko")
        transports.append(transport)
        transport.add_server_key(host_key)
        with contextlib.suppress(paramiko.SSHException, EOFError):
            transport.start_server(server=ScriptedServer(script, stop))
            while transport.is_active() and not stop.wait(0.02):
                transport.accept(0.02)

    with misbehaving(serve) as port:
        try:
            yield port
        finally:
            for transport in transports:
                transport.close()
