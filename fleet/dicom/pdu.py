"""The seven PDUs of the upper layer (PS3.8 9.3), and the reader that cuts them out of a stream.

The reader looks at six bytes first. Type and declared length are judged there, so that a peer that
announces four gigabytes has cost nothing when it is refused. Each PDU is a frozen value.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.dicom.ae_title import decode_ae_title, encode_ae_title
from fleet.dicom.errors import InvalidValueError, PduTooLongError, UnrecognizedPduError
from fleet.dicom.items import (
    APPLICATION_CONTEXT_UID,
    PresentationContextAC,
    PresentationContextRQ,
    UnknownItem,
    UserInformation,
    decode_presentation_context_ac,
    decode_presentation_context_rq,
    decode_uid,
    decode_user_information,
    encode_item,
    iterate_items,
)

HEADER_BYTES = 6
MAX_ASSOCIATION_PDU_BYTES = 65_536
_FIXED = 68  # protocol version, reserved, two titles, 32 reserved bytes (PS3.8 table 9-11)


def encode_pdu(pdu_type: int, body: bytes) -> bytes:
    return struct.pack(">BxI", pdu_type, len(body)) + body


@dataclass(frozen=True, slots=True)
class AssociateRQ:
    """A-ASSOCIATE-RQ (9.3.2). Titles are text as sent, trimmed; a peer's may be blank or not legal."""

    called: str
    calling: str
    presentation_contexts: tuple[PresentationContextRQ, ...]
    user_information: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT_UID
    protocol_version: int = 1
    unknown_items: tuple[UnknownItem, ...] = ()

    def encode(self) -> bytes:
        body = struct.pack(">H2x", self.protocol_version)
        body += encode_ae_title(self.called) + encode_ae_title(self.calling) + bytes(32)
        return encode_pdu(0x01, body + self.encode_items())

    def encode_items(self) -> bytes:
        """The variable part, which does not depend on the titles."""
        items = [encode_item(0x10, self.application_context.encode("latin-1"))]
        items += [context.encode() for context in self.presentation_contexts]
        items.append(self.user_information.encode())
        items += [item.encode() for item in self.unknown_items]
        return b"".join(items)


@dataclass(frozen=True, slots=True)
class AssociateAC:
    """A-ASSOCIATE-AC (9.3.3). Its title fields are reserved and must not be tested: raw bytes, kept."""

    presentation_contexts: tuple[PresentationContextAC, ...]
    user_information: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT_UID
    protocol_version: int = 1
    reserved_titles: bytes = b" " * 32
    unknown_items: tuple[UnknownItem, ...] = ()

    def encode(self) -> bytes:
        body = struct.pack(">H2x", self.protocol_version) + self.reserved_titles + bytes(32)
        body += encode_item(0x10, self.application_context.encode("latin-1"))
        body += b"".join(context.encode() for context in self.presentation_contexts)
        body += self.user_information.encode() + b"".join(item.encode() for item in self.unknown_items)
        return encode_pdu(0x02, body)


@dataclass(frozen=True, slots=True)
class AssociateRJ:
    """A-ASSOCIATE-RJ (9.3.4); the numbers are kept raw, reserved ones too."""

    result: int
    source: int
    reason: int

    def encode(self) -> bytes:
        return encode_pdu(0x03, bytes((0, self.result, self.source, self.reason)))


@dataclass(frozen=True, slots=True)
class PresentationDataValue:
    """One fragment of a message (9.3.5.1 and annex E.2)."""

    context_id: int
    data: bytes
    is_command: bool
    is_last: bool

    def encode(self) -> bytes:
        control = self.is_command | self.is_last << 1
        return struct.pack(">IBB", len(self.data) + 2, self.context_id, control) + self.data


@dataclass(frozen=True, slots=True)
class DataTF:
    """P-DATA-TF (9.3.5)."""

    values: tuple[PresentationDataValue, ...]

    def encode(self) -> bytes:
        return encode_pdu(0x04, b"".join(value.encode() for value in self.values))


@dataclass(frozen=True, slots=True)
class ReleaseRQ:
    """A-RELEASE-RQ (9.3.6)."""

    def encode(self) -> bytes:
        return encode_pdu(0x05, bytes(4))


@dataclass(frozen=True, slots=True)
class ReleaseRP:
    """A-RELEASE-RP (9.3.7)."""

    def encode(self) -> bytes:
        return encode_pdu(0x06, bytes(4))


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT (9.3.8); the numbers are kept raw."""

    source: int
    reason: int

    def encode(self) -> bytes:
        return encode_pdu(0x07, bytes((0, 0, self.source, self.reason)))


Pdu = AssociateRQ | AssociateAC | AssociateRJ | DataTF | ReleaseRQ | ReleaseRP | Abort


@dataclass(slots=True)
class _Items:
    """What the variable part of an association PDU held."""

    application_context: list[str] = field(default_factory=list)
    contexts_rq: list[PresentationContextRQ] = field(default_factory=list)
    contexts_ac: list[PresentationContextAC] = field(default_factory=list)
    user_information: list[UserInformation] = field(default_factory=list)
    unknown: list[UnknownItem] = field(default_factory=list)


def _collect_items(data: bytes, context_type: int) -> _Items:
    found = _Items()
    for item_type, content in iterate_items(data):
        if item_type == 0x10:
            found.application_context.append(decode_uid(content))
        elif item_type == context_type == 0x20:
            found.contexts_rq.append(decode_presentation_context_rq(content))
        elif item_type == context_type == 0x21:
            found.contexts_ac.append(decode_presentation_context_ac(content))
        elif item_type == 0x50:
            found.user_information.append(decode_user_information(content))
        else:
            found.unknown.append(UnknownItem(item_type, content))
    if len(found.application_context) > 1 or len(found.user_information) > 1:
        raise InvalidValueError("an item stands twice that may stand once")
    return found


def _decode_rq(body: bytes) -> AssociateRQ:
    version = _protocol_version(body, "A-ASSOCIATE-RQ")
    items = _collect_items(body[_FIXED:], 0x20)
    return AssociateRQ(
        called=decode_ae_title(body[4:20]),
        calling=decode_ae_title(body[20:36]),
        presentation_contexts=tuple(items.contexts_rq),
        user_information=(items.user_information or [UserInformation()])[0],
        application_context=(items.application_context or [""])[0],
        protocol_version=version,
        unknown_items=tuple(items.unknown),
    )


def _decode_ac(body: bytes) -> AssociateAC:
    version = _protocol_version(body, "A-ASSOCIATE-AC")
    items = _collect_items(body[_FIXED:], 0x21)
    return AssociateAC(
        presentation_contexts=tuple(items.contexts_ac),
        user_information=(items.user_information or [UserInformation()])[0],
        application_context=(items.application_context or [""])[0],
        protocol_version=version,
        reserved_titles=body[4:36],
        unknown_items=tuple(items.unknown),
    )


def _protocol_version(body: bytes, what: str) -> int:
    if len(body) < _FIXED:
        raise InvalidValueError(f"an {what} of {len(body)} bytes is shorter than its fixed part")
    return int.from_bytes(body[:2], "big")


def _decode_data(body: bytes) -> DataTF:
    values = []
    at = 0
    while at < len(body):
        if len(body) - at < 6:
            raise InvalidValueError("a presentation data value is cut off in its header")
        length, context_id, control = struct.unpack_from(">IBB", body, at)
        end = at + 4 + length
        if length < 2 or end > len(body):
            raise InvalidValueError(f"a presentation data value declares {length} bytes")
        values.append(PresentationDataValue(context_id, body[at + 6 : end], bool(control & 1), bool(control & 2)))
        at = end
    if not values:  # PS3.8 table 9-22: one or more
        raise InvalidValueError("a P-DATA-TF holds no presentation data value")
    return DataTF(tuple(values))


_DECODERS: dict[int, Callable[[bytes], Pdu]] = {
    0x01: _decode_rq,
    0x02: _decode_ac,
    0x03: lambda body: AssociateRJ(body[1], body[2], body[3]),
    0x04: _decode_data,
    0x05: lambda _: ReleaseRQ(),
    0x06: lambda _: ReleaseRP(),
    0x07: lambda body: Abort(body[2], body[3]),
}
_FOUR_BYTES = frozenset({0x03, 0x05, 0x06, 0x07})  # PS3.8 9.3.4, 9.3.6 to 9.3.8: the length is 4


def decode_pdu(data: bytes) -> Pdu:
    """Decode one whole PDU, header included."""
    check_header(data, max_data_bytes=len(data))
    if int.from_bytes(data[2:6], "big") != len(data) - HEADER_BYTES:
        raise InvalidValueError("the declared length is not the length of the PDU")
    return _DECODERS[data[0]](data[HEADER_BYTES:])


def check_header(data: bytes | bytearray, max_data_bytes: int) -> int:
    """Return the length of the whole PDU whose first six bytes begin *data*, or refuse it."""
    pdu_type = data[0]
    if pdu_type not in _DECODERS:
        raise UnrecognizedPduError(bytes(data[:256]))
    declared = int.from_bytes(data[2:6], "big")
    limit = max_data_bytes if pdu_type == 0x04 else MAX_ASSOCIATION_PDU_BYTES
    if declared > limit:
        raise PduTooLongError(pdu_type, declared, limit)
    if pdu_type in _FOUR_BYTES and declared != 4:
        raise InvalidValueError(f"a PDU of type {pdu_type:02X}H declares {declared} bytes instead of 4")
    return HEADER_BYTES + declared


class PduReader:
    """Cuts whole PDUs out of a stream; `unread` is at most one unfinished PDU and what came behind it."""

    __slots__ = ("_max_data_bytes", "unread")

    def __init__(self, max_data_bytes: int) -> None:
        self.unread: bytes | bytearray = b""
        self._max_data_bytes = max_data_bytes

    def feed(self, data: bytes) -> None:
        if not self.unread:
            self.unread = data  # the usual case: one segment is one PDU, and nothing is copied
        elif isinstance(self.unread, bytearray):
            self.unread += data
        else:
            self.unread = bytearray(self.unread) + data

    def next_pdu(self) -> bytes | None:
        """Return the next whole PDU; None when it has not come yet; PeerError when it must not come."""
        buffer = self.unread
        if len(buffer) < HEADER_BYTES:
            if buffer and buffer[0] not in _DECODERS:
                raise UnrecognizedPduError(bytes(buffer))
            return None
        whole = check_header(buffer, self._max_data_bytes)
        if len(buffer) < whole:
            return None
        self.unread = buffer[whole:]
        return bytes(buffer[:whole])
