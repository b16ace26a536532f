"""Items of the association PDUs (PS3.8 9.3.2, 9.3.3 and annex D; PS3.7 annex D.3.3).

Every item is a frozen value that encodes itself. Decoding goes by a table from the type byte to a
function of the item's content; a type that is not in the table is kept as it is (`UnknownItem`), since
PS3.8 9.3.1 tells receivers to ignore such items, and a tool that explains peers wants to show them.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fleet.dicom.errors import InvalidValueError

APPLICATION_CONTEXT_UID = "1.2.840.10008.3.1.1.1"  # PS3.7 annex A.2.1


def encode_item(item_type: int, content: bytes) -> bytes:
    """Type, a reserved byte, a length of two bytes, the content."""
    return struct.pack(">BxH", item_type, len(content)) + content


def iterate_items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk a sequence of items; a length that leads outside *data* is an error, not a short item."""
    at = 0
    while at < len(data):
        if len(data) - at < 4:
            raise InvalidValueError("an item is cut off in its header")
        item_type, length = struct.unpack_from(">BxH", data, at)
        at += 4
        if length > len(data) - at:
            raise InvalidValueError(f"item {item_type:02X}H declares {length} bytes; {len(data) - at} are left")
        yield item_type, data[at : at + length]
        at += length


def decode_uid(content: bytes) -> str:
    """UIDs come padded with NUL or spaces by some peers, which PS3.8 annex F does not ask for."""
    return content.decode("latin-1").rstrip("\0 ")


def _split_counted(content: bytes, what: str) -> tuple[bytes, bytes]:
    """Cut a value with its two-byte length off the front."""
    if len(content) < 2:
        raise InvalidValueError(f"{what} is cut off")
    length = int.from_bytes(content[:2], "big")
    if length > len(content) - 2:
        raise InvalidValueError(f"{what} declares {length} bytes; {len(content) - 2} are left")
    return content[2 : 2 + length], content[2 + length :]


def _counted(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


@dataclass(frozen=True, slots=True)
class UnknownItem:
    item_type: int
    content: bytes

    def encode(self) -> bytes:
        return encode_item(self.item_type, self.content)


@dataclass(frozen=True, slots=True)
class PresentationContextRQ:
    """Item 20H (PS3.8 table 9-13)."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]

    def encode(self) -> bytes:
        content = struct.pack("B3x", self.context_id) + encode_item(0x30, self.abstract_syntax.encode("ascii"))
        for uid in self.transfer_syntaxes:
            content += encode_item(0x40, uid.encode("ascii"))
        return encode_item(0x20, content)


@dataclass(frozen=True, slots=True)
class PresentationContextAC:
    """Item 21H (PS3.8 table 9-18); the transfer syntax counts only when the result is 0."""

    context_id: int
    result: int
    transfer_syntax: str = ""

    def encode(self) -> bytes:
        syntax = encode_item(0x40, self.transfer_syntax.encode("latin-1"))
        return encode_item(0x21, struct.pack("BxBx", self.context_id, self.result) + syntax)


@dataclass(frozen=True, slots=True)
class MaximumLength:
    """Item 51H: the longest P-DATA-TF its sender wants to get; 0 is without limit."""

    max_pdu_bytes: int

    def encode(self) -> bytes:
        return encode_item(0x51, struct.pack(">I", self.max_pdu_bytes))


@dataclass(frozen=True, slots=True)
class ImplementationClassUID:
    """Item 52H."""

    uid: str

    def encode(self) -> bytes:
        return encode_item(0x52, self.uid.encode("latin-1"))


@dataclass(frozen=True, slots=True)
class AsynchronousOperationsWindow:
    """Item 53H; 0 is without limit."""

    invoked: int
    performed: int

    def encode(self) -> bytes:
        return encode_item(0x53, struct.pack(">HH", self.invoked, self.performed))


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """Item 54H."""

    sop_class_uid: str
    scu: int
    scp: int

    def encode(self) -> bytes:
        roles = struct.pack("BB", self.scu, self.scp)
        return encode_item(0x54, _counted(self.sop_class_uid.encode("latin-1")) + roles)


@dataclass(frozen=True, slots=True)
class ImplementationVersionName:
    """Item 55H; the text is kept as the peer sent it, whatever it holds: whoever prints it escapes it."""

    name: str

    def encode(self) -> bytes:
        return encode_item(0x55, self.name.encode("latin-1"))


@dataclass(frozen=True, slots=True)
class SOPClassExtendedNegotiation:
    """Item 56H."""

    sop_class_uid: str
    information: bytes

    def encode(self) -> bytes:
        return encode_item(0x56, _counted(self.sop_class_uid.encode("latin-1")) + self.information)


@dataclass(frozen=True, slots=True)
class SOPClassCommonExtendedNegotiation:
    """Item 57H; its second byte, reserved elsewhere, is a version, which is 0 as yet."""

    sop_class_uid: str
    service_class_uid: str
    related_general: tuple[str, ...] = ()

    def encode(self) -> bytes:
        related = b"".join(_counted(uid.encode("latin-1")) for uid in self.related_general)
        content = _counted(self.sop_class_uid.encode("latin-1"))
        content += _counted(self.service_class_uid.encode("latin-1")) + _counted(related)
        return encode_item(0x57, content)


@dataclass(frozen=True, slots=True)
class UserIdentityRQ:
    """Item 58H; its fields may be passwords or tokens, so they stay out of its repr."""

    identity_type: int
    response_requested: bool
    primary: bytes
    secondary: bytes = b""

    def encode(self) -> bytes:
        head = struct.pack("BB", self.identity_type, self.response_requested)
        return encode_item(0x58, head + _counted(self.primary) + _counted(self.secondary))

    def __repr__(self) -> str:
        return f"UserIdentityRQ(identity_type={self.identity_type}, ***)"


@dataclass(frozen=True, slots=True)
class UserIdentityAC:
    """Item 59H."""

    server_response: bytes

    def encode(self) -> bytes:
        return encode_item(0x59, _counted(self.server_response))


UserItem = (
    UnknownItem
    | MaximumLength
    | ImplementationClassUID
    | AsynchronousOperationsWindow
    | RoleSelection
    | ImplementationVersionName
    | SOPClassExtendedNegotiation
    | SOPClassCommonExtendedNegotiation
    | UserIdentityRQ
    | UserIdentityAC
)


def decode_presentation_context_rq(content: bytes) -> PresentationContextRQ:
    context_id, rest = _split_context(content)
    syntaxes = list(iterate_items(rest))
    abstract = [decode_uid(value) for item_type, value in syntaxes if item_type == 0x30]
    if len(abstract) != 1:
        raise InvalidValueError(f"context {context_id} proposes {len(abstract)} abstract syntaxes, not one")
    transfer = tuple(decode_uid(value) for item_type, value in syntaxes if item_type == 0x40)
    return PresentationContextRQ(context_id, abstract[0], transfer)


def decode_presentation_context_ac(content: bytes) -> PresentationContextAC:
    context_id, rest = _split_context(content)
    if content[2] != 0:  # PS3.8 table 9-18: not significant then, and some peers leave junk there
        return PresentationContextAC(context_id, content[2])
    transfer = [decode_uid(value) for item_type, value in iterate_items(rest) if item_type == 0x40]
    if len(transfer) != 1:
        raise InvalidValueError(f"context {context_id} is accepted with {len(transfer)} transfer syntaxes")
    return PresentationContextAC(context_id, 0, transfer[0])


def _split_context(content: bytes) -> tuple[int, bytes]:
    if len(content) < 4:
        raise InvalidValueError("a presentation context is cut off")
    return content[0], content[4:]


def _decode_maximum_length(content: bytes) -> MaximumLength:
    return MaximumLength(int.from_bytes(_exactly(content, 4, "the maximum length"), "big"))


def _decode_window(content: bytes) -> AsynchronousOperationsWindow:
    return AsynchronousOperationsWindow(*struct.unpack(">HH", _exactly(content, 4, "the asynchronous window")))


def _decode_role(content: bytes) -> RoleSelection:
    uid, rest = _split_counted(content, "the role selection")
    scu, scp = _exactly(rest, 2, "the role selection")
    return RoleSelection(decode_uid(uid), scu, scp)


def _decode_extended(content: bytes) -> SOPClassExtendedNegotiation:
    uid, rest = _split_counted(content, "the extended negotiation")
    return SOPClassExtendedNegotiation(decode_uid(uid), rest)


def _decode_common_extended(content: bytes) -> SOPClassCommonExtendedNegotiation:
    sop_class, rest = _split_counted(content, "the common extended negotiation")
    service_class, rest = _split_counted(rest, "the common extended negotiation")
    block, _reserved = _split_counted(rest, "the common extended negotiation")
    related = []
    while block:
        uid, block = _split_counted(block, "a related general SOP class")
        related.append(decode_uid(uid))
    return SOPClassCommonExtendedNegotiation(decode_uid(sop_class), decode_uid(service_class), tuple(related))


def _decode_identity_rq(content: bytes) -> UserIdentityRQ:
    if len(content) < 2:
        raise InvalidValueError("the user identity is cut off")
    primary, rest = _split_counted(content[2:], "the user identity")
    secondary, _ = _split_counted(rest, "the user identity")
    return UserIdentityRQ(content[0], content[1] != 0, primary, secondary)


def _decode_identity_ac(content: bytes) -> UserIdentityAC:
    return UserIdentityAC(_split_counted(content, "the user identity's response")[0])


def _exactly(content: bytes, length: int, what: str) -> bytes:
    if len(content) != length:
        raise InvalidValueError(f"{what} holds {len(content)} bytes, not {length}")
    return content


_USER_ITEM_DECODERS: dict[int, Callable[[bytes], UserItem]] = {
    0x51: _decode_maximum_length,
    0x52: lambda content: ImplementationClassUID(decode_uid(content)),
    0x53: _decode_window,
    0x54: _decode_role,
    0x55: lambda content: ImplementationVersionName(content.decode("latin-1")),
    0x56: _decode_extended,
    0x57: _decode_common_extended,
    0x58: _decode_identity_rq,
    0x59: _decode_identity_ac,
}


@dataclass(frozen=True, slots=True)
class UserInformation:
    """Item 50H: what the two sides tell each other about themselves."""

    items: tuple[UserItem, ...] = ()

    def encode(self) -> bytes:
        return encode_item(0x50, b"".join(item.encode() for item in self.items))

    @property
    def max_pdu_bytes(self) -> int | None:
        return next((item.max_pdu_bytes for item in self.items if isinstance(item, MaximumLength)), None)

    @property
    def implementation_class_uid(self) -> str | None:
        return next((item.uid for item in self.items if isinstance(item, ImplementationClassUID)), None)

    @property
    def implementation_version(self) -> str | None:
        return next((item.name for item in self.items if isinstance(item, ImplementationVersionName)), None)


def decode_user_information(content: bytes) -> UserInformation:
    return UserInformation(tuple(_decode_user_item(*pair) for pair in iterate_items(content)))


def _decode_user_item(item_type: int, content: bytes) -> UserItem:
    decoder = _USER_ITEM_DECODERS.get(item_type)
    return UnknownItem(item_type, content) if decoder is None else decoder(content)
