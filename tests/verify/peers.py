"""Peers on loopback that do exactly what a script says: bytes and pauses, no DICOM library."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

from fleet.dicom.association import make_command_pdu
from fleet.dicom.dimse import EchoRSP
from fleet.dicom.items import (
    ImplementationClassUID,
    ImplementationVersionName,
    MaximumLength,
    PresentationContextAC,
    UserInformation,
)
from fleet.dicom.pdu import AssociateAC, ReleaseRP

PEER_INFORMATION = UserInformation(
    (MaximumLength(16384), ImplementationClassUID("1.2.3.4"), ImplementationVersionName("SCRIPTED"))
)
ACCEPT = AssociateAC(
    (PresentationContextAC(1, 0, "1.2.840.10008.1.2"),), PEER_INFORMATION, reserved_titles=bytes(32)
).encode()
ANSWER = make_command_pdu(1, EchoRSP(1, 0x0000)).encode()
RELEASED = ReleaseRP().encode()

Script = Callable[[socket.socket], None]


class Stop(Exception):
    """The peer that is scripted has gone."""


def read_pdu(sock: socket.socket) -> bytes:
    head = _read(sock, 6)
    return head + _read(sock, int.from_bytes(head[2:6], "big"))


def _read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise Stop
        data += piece
    return data


def answer_well(sock: socket.socket) -> None:
    """A whole C-ECHO as it should be."""
    for reply in (ACCEPT, ANSWER, RELEASED):
        read_pdu(sock)
        sock.sendall(reply)


class Counter:
    """A good peer that counts how many associations it holds at once, from accept to release."""

    def __init__(self) -> None:
        self.most_at_once = 0
        self._active = 0
        self._lock = threading.Lock()

    def __call__(self, sock: socket.socket) -> None:
        with self._lock:
            self._active += 1
            self.most_at_once = max(self.most_at_once, self._active)
        replies(ACCEPT, ANSWER)(sock)
        read_pdu(sock)
        with self._lock:
            self._active -= 1
        sock.sendall(RELEASED)


def replies(*answers: bytes) -> Script:
    """Answer each PDU with the next of *answers*, then close."""

    def script(sock: socket.socket) -> None:
        for answer in answers:
            read_pdu(sock)
            sock.sendall(answer)

    return script


def hang_after_accept(sock: socket.socket) -> None:
    """Reads what comes and says nothing."""
    while True:
        read_pdu(sock)


def reset(sock: socket.socket) -> None:
    """Make the close a RST (SO_LINGER with no time, socket(7))."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Peer:
    """Listens on a port of its own and runs a script for each connection; counts what it sees."""

    def __init__(self, script: Script, address: str = "127.0.0.1") -> None:
        self._script = script
        self._listener = socket.create_server((address, 0), backlog=256)
        self.address = address
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(10.0)
            with self._lock:
                self.connections += 1
                self._sockets.append(sock)
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, Stop), sock:
            self._script(sock)

    def close(self) -> None:
        """Close the listener and every connection, so that scripts that wait come to an end."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def serving(script: Script, address: str = "127.0.0.1") -> Iterator[Peer]:
    peer = Peer(script, address)
    try:
        yield peer
    finally:
        peer.close()
