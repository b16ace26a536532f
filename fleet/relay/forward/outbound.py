"""One association with a destination: opened for what is queued, and used for many instances.

The file's bytes go out as they lie on the disk, read once: they are hashed while they are sent, and the last piece is
held back until the hash is that of the record (T76). A file that changed is aborted, not delivered.
"""

import hashlib
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

from fleet.dicom.association import Requestor
from fleet.dicom.commitment import (
    COMMITMENT_UID,
    IMPLICIT_LITTLE,
    N_ACTION_RSP,
    N_EVENT_REPORT_RQ,
    Reference,
    encode_action_rq,
    encode_request,
)
from fleet.dicom.dimse import VERIFICATION_UID, EchoRQ
from fleet.dicom.errors import PeerError
from fleet.dicom.items import (
    ImplementationClassUID,
    ImplementationVersionName,
    MaximumLength,
    PresentationContextRQ,
    UserInformation,
)
from fleet.dicom.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, DataTF, Pdu, PresentationDataValue, ReleaseRP
from fleet.relay.implementation import IMPLEMENTATION_NAME, IMPLEMENTATION_UID
from fleet.relay.secure import wrap
from fleet.relay.store_command import C_ECHO_RQ, CommandSet, decode_command, encode_response, encode_store_rq
from fleet.relay.values import Destination, Endpoint

MAX_CONTEXTS: Final = 100  # about 80 bytes each: the request stays below 16 KB, which some peers take no more than
RESPONSE_S: Final = 60.0
MIN_BYTES_PER_S: Final = 4096
_OUR_MAX_PDU: Final = 16_384
BLOCK_BYTES: Final = 262_144
_LONGEST_PDU: Final = 131_072
_PDV_OVERHEAD: Final = 6

COMMITMENT: Final = (COMMITMENT_UID, IMPLICIT_LITTLE)
MAX_REPORT_BYTES: Final = 1_048_576

Kind = tuple[str, str]  # SOP class, transfer syntax


class AssociationFailed(Exception):
    """The association could not be opened, or ended before its time; the words go into the log and the queue."""


class ChangedFileError(Exception):
    """The file is not what was recorded when it was acknowledged."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A file as it is to be sent."""

    path: Path
    data_set_offset: int
    size_bytes: int
    sha256: str | None
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def kind(self) -> Kind:
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class Pacing:
    """How evenly a file goes out: `wait` is called with each block's size and returns how long it waited."""

    wait: Callable[[int], float]
    block_bytes: int


UNPACED: Final = Pacing(lambda _bytes: 0.0, BLOCK_BYTES)


def make_request(destination: Destination, kinds: Sequence[Kind]) -> AssociateRQ:
    """Ask for one context for each kind of instance, so that the answer says which of them the peer takes."""
    contexts = tuple(
        PresentationContextRQ(2 * index + 1, abstract, (transfer,)) for index, (abstract, transfer) in enumerate(kinds)
    )
    about = UserInformation(
        (
            MaximumLength(_OUR_MAX_PDU),
            ImplementationClassUID(IMPLEMENTATION_UID),
            ImplementationVersionName(IMPLEMENTATION_NAME),
        )
    )
    return AssociateRQ(destination.ae_title, destination.calling, contexts, about)


class Outbound:
    """An open association; one thread uses it."""

    def __init__(self, destination: Destination, kinds: Sequence[Kind], response_s: float = RESPONSE_S) -> None:
        """Open it; raises `AssociationFailed`."""
        if len(kinds) > MAX_CONTEXTS:
            raise ValueError(f"{len(kinds)} contexts in one request")
        self._response_s = response_s
        self._requestor = Requestor()
        self._message_id = 0
        self._sock = _connect(destination)
        try:
            answer = self._associate(make_request(destination, kinds), destination.acse_s)
        except BaseException:
            self._sock.close()
            raise
        accepted = {each.context_id for each in answer.presentation_contexts if each.result == 0}
        self.contexts = {kind: 2 * index + 1 for index, kind in enumerate(kinds) if 2 * index + 1 in accepted}
        longest = answer.user_information.max_pdu_bytes or _LONGEST_PDU  # PS3.8 D.1: 0 is without limit
        self._piece_bytes = max(min(longest, _LONGEST_PDU) - _PDV_OVERHEAD, 2) & ~1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def echo(self) -> int:
        """C-ECHO; returns the status."""
        self._message_id += 1
        context_id = self.contexts.get((VERIFICATION_UID, "1.2.840.10008.1.2"))
        if context_id is None:
            raise AssociationFailed("it does not accept Verification")
        self._send_command(context_id, EchoRQ(self._message_id).encode())
        return self._response(C_ECHO_RQ | 0x8000).status

    def store(self, parcel: Parcel, pacing: Pacing | None = None) -> int:
        """C-STORE; returns the status. Raises `ChangedFileError` after aborting, OSError for our own disk."""
        self._message_id = self._message_id % 65_535 + 1
        context_id = self.contexts[parcel.kind]
        with parcel.path.open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size != parcel.size_bytes:
                raise ChangedFileError("its file has another length than was recorded")
            command = encode_store_rq(self._message_id, parcel.sop_class_uid, parcel.sop_instance_uid)
            self._send_command(context_id, command)
            self._send_file(file, parcel, context_id, pacing or UNPACED)
        return self._response(0x8001).status

    def request_commitment(self, transaction_uid: str, references: Sequence[Reference]) -> int:
        """N-ACTION: will it answer for these? Returns the status; the answer itself is a report that comes later."""
        context_id = self.contexts.get(COMMITMENT)
        if context_id is None:
            raise AssociationFailed("it does not accept storage commitment")
        self._message_id = self._message_id % 65_535 + 1
        self._send_command(context_id, encode_action_rq(self._message_id))
        data = memoryview(encode_request(transaction_uid, references))
        framed = _frame(data, context_id, self._piece_bytes, is_last=True)
        self._send(framed, time.monotonic() + self._response_s)
        return self._response(N_ACTION_RSP).status

    def await_report(self, wait_s: float) -> tuple[CommandSet, bytes] | None:
        """An N-EVENT-REPORT in this same association, if one comes soon; answer it by `answer_report`."""
        deadline = time.monotonic() + wait_s
        try:
            return self._request(deadline)
        except AssociationFailed:
            return None

    def answer_report(self, request: CommandSet, status: int) -> None:
        """The response to a report; a peer that does not wait for it loses nothing."""
        try:
            self._send_command(self.contexts[COMMITMENT], encode_response(request, status))
        except AssociationFailed:
            return

    def _request(self, deadline: float) -> tuple[CommandSet, bytes]:
        command, data, found = bytearray(), bytearray(), None
        while True:
            pdu = self._next_pdu(deadline)
            if not isinstance(pdu, DataTF):
                raise AssociationFailed(f"{type(pdu).__name__} came instead of a report")
            for value in pdu.values:
                (command if value.is_command else data).extend(value.data)
                if len(command) + len(data) > MAX_REPORT_BYTES:
                    raise AssociationFailed("its report is too long")
                if value.is_last and value.is_command:
                    found = decode_command(bytes(command))
                    if found.field != N_EVENT_REPORT_RQ or not found.has_data_set:
                        raise AssociationFailed("something else than a report came")
                elif value.is_last and found is not None:
                    return found, bytes(data)

    def release(self) -> None:
        """End it in order; a peer that does not answer changes nothing any more."""
        try:
            self._requestor.release()
            self._send([self._requestor.data_to_send()], time.monotonic() + self._response_s)
            deadline = time.monotonic() + min(self._response_s, 5.0)
            while not isinstance(self._next_pdu(deadline), ReleaseRP):
                pass
        except (AssociationFailed, PeerError):
            return

    def abort(self) -> None:
        """End it at once."""
        try:
            self._send([Abort(0, 0).encode()], time.monotonic() + 1.0)
        except AssociationFailed:
            return

    def _associate(self, request: AssociateRQ, acse_s: float) -> AssociateAC:
        deadline = time.monotonic() + acse_s
        self._requestor.associate(request)
        self._requestor.transport_confirmed()
        self._send([self._requestor.data_to_send()], deadline)
        answer = self._next_pdu(deadline)
        if isinstance(answer, AssociateRJ):
            raise AssociationFailed(f"rejected {answer.result}/{answer.source}/{answer.reason}")
        if not isinstance(answer, AssociateAC):
            raise AssociationFailed(f"answered with {type(answer).__name__}")
        return answer

    def _send_command(self, context_id: int, command: bytes) -> None:
        value = PresentationDataValue(context_id, command, is_command=True, is_last=True)
        self._send([DataTF((value,)).encode()], time.monotonic() + self._response_s)

    def _send_file(self, file: BinaryIO, parcel: Parcel, context_id: int, pacing: Pacing) -> None:
        seen = hashlib.sha256()
        seen.update(file.read(parcel.data_set_offset))
        left = parcel.size_bytes - parcel.data_set_offset
        deadline = time.monotonic() + self._response_s + left / MIN_BYTES_PER_S
        piece_bytes = min(self._piece_bytes, pacing.block_bytes & ~1)
        pieces = max(pacing.block_bytes // piece_bytes, 1)
        block = memoryview(bytearray(pieces * piece_bytes))
        while True:
            length = _read_full(file, block[: min(len(block), left)])
            left -= length
            if left and length < len(block):
                self.abort()
                raise ChangedFileError("its file ends early")
            data = block[:length]
            seen.update(data)
            if not left and parcel.sha256 is not None and seen.hexdigest() != parcel.sha256:
                self.abort()
                raise ChangedFileError("its file is not what was received: the hash differs")
            deadline += pacing.wait(length)
            self._send(_frame(data, context_id, piece_bytes, not left), deadline)
            if not left:
                return

    def _send(self, pieces: Sequence[bytes | memoryview], deadline: float) -> None:
        waiting = [memoryview(piece) for piece in pieces if len(piece)]
        try:
            while waiting:
                self._sock.settimeout(_left(deadline))
                sent = _send_some(self._sock, waiting[:512])
                while waiting and sent >= len(waiting[0]):
                    sent -= len(waiting.pop(0))
                if sent:
                    waiting[0] = waiting[0][sent:]
        except TimeoutError as error:
            raise AssociationFailed("it takes our bytes too slowly") from error
        except OSError as error:
            raise AssociationFailed(f"lost while we sent: {os.strerror(error.errno or 0)}") from error

    def _response(self, field: int) -> CommandSet:
        deadline = time.monotonic() + self._response_s
        command = bytearray()
        while True:
            pdu = self._next_pdu(deadline)
            if not isinstance(pdu, DataTF):
                raise AssociationFailed(f"{type(pdu).__name__} came instead of a response")
            for value in pdu.values:
                command += value.data
                if not value.is_command or len(command) > 4096:
                    raise AssociationFailed("something else than a response came")
                if value.is_last:
                    return self._check_response(bytes(command), field)

    def _check_response(self, data: bytes, field: int) -> CommandSet:
        try:
            command = decode_command(data)
        except PeerError as error:
            raise AssociationFailed(f"its response cannot be read: {error.words}") from error
        if command.field != field or command.message_id != self._message_id:
            raise AssociationFailed("a response to another question came")
        return command

    def _next_pdu(self, deadline: float) -> Pdu:
        while (event := self._requestor.next_event()) is None:
            try:
                self._sock.settimeout(_left(deadline))
                # Peers that write a response in two pieces wait for our acknowledgement of the first (Nagle); tcp(7).
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                data = self._sock.recv(65_536)
            except TimeoutError as error:
                raise AssociationFailed("it does not answer in time") from error
            except OSError as error:
                raise AssociationFailed(f"lost: {os.strerror(error.errno or 0)}") from error
            if not data:
                raise AssociationFailed("it closed the connection")
            self._requestor.receive(data)
        if isinstance(event, Abort):
            raise AssociationFailed(f"it aborted ({event.source}/{event.reason})")
        if not isinstance(event, Pdu):
            raise AssociationFailed("it broke the protocol")
        return event


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _read_full(file: BinaryIO, into: memoryview) -> int:
    done = 0
    while done < len(into):
        length = file.readinto(into[done:])  # type: ignore[attr-defined]  # a raw file reads into memory
        if not length:
            break
        done += length
    return done


def _frame(data: memoryview, context_id: int, piece_bytes: int, is_last: bool) -> list[bytes | memoryview]:
    """A block as P-DATA-TFs of one value each (PS3.8 9.3.5, annex E.2)."""
    framed: list[bytes | memoryview] = []
    for at in range(0, max(len(data), 1), piece_bytes):
        piece = data[at : at + piece_bytes]
        control = 2 if is_last and at + piece_bytes >= len(data) else 0
        framed.append(struct.pack(">BxIIBB", 4, len(piece) + 6, len(piece) + 2, context_id, control))
        framed.append(piece)
    return framed


def _connect(destination: Destination) -> socket.socket:
    """The first place that takes a connection."""
    reasons = []
    for place in destination.addresses:
        try:
            return _connect_to(place, destination)
        except OSError as error:
            reasons.append(f"{place.address}:{place.port}: {error.strerror or error}")
    raise AssociationFailed("no connection: " + "; ".join(reasons))


def _connect_to(place: Endpoint, destination: Destination) -> socket.socket:
    sock = socket.create_connection((place.address, place.port), timeout=destination.connect_s)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock if destination.tls is None else wrap(sock, destination.tls, place.address)
    except BaseException:
        sock.close()
        raise


def _send_some(sock: socket.socket, waiting: list[memoryview]) -> int:
    """TLS has no gathering write: there the pieces are joined."""
    if isinstance(sock, ssl.SSLSocket):
        joined = b"".join(waiting)
        sock.sendall(joined)
        return len(joined)
    return sock.sendmsg(waiting)
