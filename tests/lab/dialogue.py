"""The smallest requestor: a whole C-ECHO from a chosen source address, with no code of fleet's in it.

What a server makes of a caller is judged by somebody else than fleet's own sweep.
"""

import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from tests.lab.hosts import LabHost

# PS3.7 table 9.3-12 in a P-DATA-TF: C-ECHO-RQ, message 1, presentation context 1.
ECHO_REQUEST = bytes.fromhex(
    "04000000004a0000004601030000000004000000380000000000020012000000312e322e3834302e31303030382e312e3100"
    "000000010200000030000000100102000000010000000008020000000101"
)
RELEASE_REQUEST = bytes.fromhex("05000000000400000000")  # PS3.8 table 9-24
SUCCESS = bytes.fromhex("00000009020000000000")  # (0000,0900) = 0000


@dataclass(frozen=True, order=True)
class Caller:
    """Who calls, and whom."""

    calling: str
    source: str
    called: str = "NORTH_PACS"


def encode_association_request(calling: str, called: str) -> bytes:
    """PS3.8 9.3.2: Verification with Implicit VR Little Endian, and nothing else."""

    def item(kind: int, body: bytes) -> bytes:
        return bytes([kind, 0]) + len(body).to_bytes(2, "big") + body

    syntaxes = item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.840.10008.1.2")
    user = item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"1.2.276.0.99.1")
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, b"\x01\0\0\0" + syntaxes) + item(0x50, user)
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    body = b"\0\x01\0\0" + titles + bytes(32) + items
    return b"\x01\0" + len(body).to_bytes(4, "big") + body


def call(caller: Caller, address: str, port: int) -> str:
    """`answered`, `rejected` (with the three numbers of PS3.8 table 9-21), or `closed`."""
    with socket.socket() as connection:
        connection.settimeout(20)
        connection.bind((caller.source, 0))
        try:
            connection.connect((address, port))
            return _converse(connection, caller)
        except OSError as error:
            return f"closed ({error})"


def _converse(connection: socket.socket, caller: Caller) -> str:
    connection.sendall(encode_association_request(caller.calling, caller.called))
    answer = _receive_pdu(connection)
    if answer[:1] == b"\x03":
        return f"rejected {answer[7]}/{answer[8]}/{answer[9]}"
    if answer[:1] != b"\x02":
        return f"closed ({answer[:12].hex()})"
    connection.sendall(ECHO_REQUEST)
    response = _receive_pdu(connection)
    with suppress(OSError):
        connection.sendall(RELEASE_REQUEST)
        _receive_pdu(connection)
    return "answered" if SUCCESS in response else f"closed ({response.hex()})"


def call_all(host: LabHost, callers: Sequence[Caller], place: tuple[str, int]) -> dict[Caller, str]:
    """Every one of them, from the addresses that this host holds, a few at a time."""

    def ask(caller: Caller) -> str:
        with host.network.entered():
            return call(caller, *place)

    with ThreadPoolExecutor(max_workers=8) as pool:
        return dict(zip(callers, pool.map(ask, callers), strict=True))


def _receive_pdu(connection: socket.socket) -> bytes:
    """One PDU (PS3.8 9.3.1), or what came before the end."""
    data = b""
    while len(data) < 6 or len(data) < 6 + int.from_bytes(data[2:6], "big"):
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
    return data
