"""A destination that does what a test says: answers with given statuses, rejects, hangs or goes away."""

import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from fleet.dicom.commitment import (
    COMMITMENT_UID,
    N_ACTION_RQ,
    Report,
    decode_report,
    encode_event_report_rq,
    encode_report,
)
from fleet.dicom.items import PresentationContextAC
from fleet.dicom.pdu import AssociateAC, AssociateRJ, AssociateRQ, DataTF, PduReader, PresentationDataValue, ReleaseRP
from fleet.dicom.pdu import decode_pdu as decode
from fleet.relay.store_command import C_ECHO_RQ, CommandSet, decode_command, encode_response

TAKEN_AND_GONE = -2


@dataclass(slots=True)
class Script:
    """`status` says how an instance is answered; None closes the connection, an int below zero says nothing at all.

    `TAKEN_AND_GONE` takes it and closes the connection: the answer is lost.
    """

    status: Callable[[str], int | None] = lambda _uid: 0
    reject: AssociateRJ | None = None
    refuse_contexts: bool = False
    received: list[tuple[str, str]] = field(default_factory=list)  # UID, SHA-256 of the data set
    associations: int = 0
    largest_request: int = 0
    echoes: int = 0
    port: int = 0
    tls: ssl.SSLContext | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    keep: bool = False
    bodies: bytearray = field(default_factory=bytearray)
    delay_s: Callable[[], float] = lambda: 0.0  # between taking an instance and answering
    look: Callable[[bytes], None] | None = None  # at each data set that arrives
    commit: Callable[[Report], Report | None] | None = None  # what it commits itself to; without it, not this service
    asked: list[set[str]] = field(default_factory=list)
    talks: list[list[int]] = field(default_factory=list)  # an association each: indexes into received, -1 for more

    def note(self, talk: list[int], uid: str, data_set: bytes) -> None:
        """An instance has arrived in an association."""
        digest = hashlib.sha256(data_set).hexdigest()
        with self.lock:
            talk.append(len(self.received))
            self.received.append((uid, digest))
            if self.look is not None:
                self.look(data_set)

    def ends(self) -> list[tuple[str, bool]]:
        """Each arrival, and whether its sender went on in that association afterwards.

        In the order in which the associations were opened: what a killed sender had sent may be taken up here only
        after the next one's, which was born when that one was dead.
        """
        return [
            (self.received[index][0], place < len(talk) - 1)
            for talk in self.talks
            for place, index in enumerate(talk)
            if index >= 0
        ]

    def uids(self) -> list[str]:
        return [uid for uid, _ in self.received]


@contextmanager
def sinking(script: Script, port: int = 0) -> Iterator[Script]:
    """Serve a script on loopback until the block ends."""
    listener = socket.create_server(("127.0.0.1", port))
    script.port = listener.getsockname()[1]
    open_socks: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            open_socks.append(sock)
            talk: list[int] = []
            script.talks.append(talk)  # here, since threads need not begin in the order in which they are started
            threading.Thread(target=_converse, args=(sock, script, talk), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for sock in open_socks:
            sock.close()
        thread.join(5)


def _converse(sock: socket.socket, script: Script, talk: list[int]) -> None:  # noqa: C901, PLR0912  a dialogue is read best in one piece
    reader = PduReader(1 << 20)
    command, action, data_set = bytearray(), bytearray(), bytearray()
    waiting: CommandSet | None = None
    try:
        if script.tls is not None:
            sock = script.tls.wrap_socket(sock, server_side=True)
        while data := sock.recv(1 << 18):
            reader.feed(data)
            while (whole := reader.next_pdu()) is not None:
                pdu = decode(whole)
                if isinstance(pdu, AssociateRQ):
                    script.associations += 1
                    script.largest_request = max(script.largest_request, len(whole))
                    sock.sendall(_answer(pdu, script))
                elif isinstance(pdu, DataTF):
                    for value in pdu.values:
                        if value.is_command:
                            command += value.data
                            if value.is_last:
                                waiting = decode_command(bytes(command))
                                command.clear()
                                if waiting.field == C_ECHO_RQ:
                                    script.echoes += 1
                                    _respond(sock, value.context_id, waiting, 0)
                            continue
                        if waiting is not None and waiting.field == N_ACTION_RQ:
                            action += value.data
                            if value.is_last:
                                _commit(sock, value.context_id, waiting, bytes(action), script)
                                action.clear()
                            continue
                        data_set += value.data
                        if script.keep:
                            script.bodies += value.data
                        if value.is_last and waiting is not None:
                            note = partial(script.note, talk, waiting.sop_instance_uid, bytes(data_set))
                            if not _take(sock, value.context_id, waiting, script, note):
                                return
                            data_set.clear()
                else:
                    talk.append(-1)
                    sock.sendall(ReleaseRP().encode())
    except OSError:
        return
    finally:
        sock.close()


def _answer(request: AssociateRQ, script: Script) -> bytes:
    if script.reject is not None:
        return script.reject.encode()
    result = 3 if script.refuse_contexts else 0
    if any(each.abstract_syntax == COMMITMENT_UID for each in request.presentation_contexts) and not script.commit:
        result = 3
    return AssociateAC(
        tuple(
            PresentationContextAC(each.context_id, result, each.transfer_syntaxes[0])
            for each in request.presentation_contexts
        )
    ).encode()


def _take(sock: socket.socket, context_id: int, request: CommandSet, script: Script, note: Callable[[], None]) -> bool:
    status = script.status(request.sop_instance_uid)
    if status is None:
        return False
    if status in {0, 0xB000, TAKEN_AND_GONE}:
        note()
    if status == TAKEN_AND_GONE:
        return False
    time.sleep(script.delay_s())
    if status >= 0:
        _respond(sock, context_id, request, status)
    return True


def _commit(sock: socket.socket, context_id: int, request: CommandSet, data: bytes, script: Script) -> None:
    """Answer for what was asked, in the same association."""
    asked = decode_report(data, "1.2.840.10008.1.2")
    script.asked.append({uid for _, uid in asked.committed})
    _respond(sock, context_id, request, 0)
    report = script.commit(asked) if script.commit else None
    if report is None:
        return
    for piece, is_command in ((encode_event_report_rq(9, bool(report.failed)), True), (encode_report(report), False)):
        for at in range(0, len(piece), 16_000):
            last = at + 16_000 >= len(piece)
            value = PresentationDataValue(context_id, piece[at : at + 16_000], is_command=is_command, is_last=last)
            sock.sendall(DataTF((value,)).encode())


def _respond(sock: socket.socket, context_id: int, request: CommandSet, status: int) -> None:
    value = PresentationDataValue(context_id, encode_response(request, status), is_command=True, is_last=True)
    sock.sendall(DataTF((value,)).encode())
