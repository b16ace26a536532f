"""Servers that misbehave: raw sockets before the login, a scripted SSH server after it."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

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
        return "password" if self.script == "wants-password" else "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if self.script == "hang-in-login":
            self.stop.wait(20)
        return AUTH_FAILED if self.script == "wants-password" else AUTH_SUCCESSFUL

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
            if self.script == "endless-output":
                while not self.stop.is_set():
                    channel.sendall(b"x" * 32_000)
            elif self.script == "endless-errors":
                while not self.stop.is_set():
                    channel.sendall_stderr(b"x" * 32_000)
            elif self.script == "dribble":
                while not self.stop.wait(0.05):
                    channel.sendall(b".")
            elif self.script == "never-exits":
                channel.shutdown_write()
                self.stop.wait(20)
            elif self.script == "hang-up":
                channel.get_transport().close()
            else:
                channel.sendall(self.script.encode())
                time.sleep(0.02)
                channel.send_exit_status(0)
                channel.close()


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
