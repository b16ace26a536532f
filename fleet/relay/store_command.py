"""C-STORE in command sets (PS3.7 9.1.1, 9.3.1, annex E): always Implicit VR Little Endian, group 0000."""

import struct
from dataclasses import dataclass
from typing import Final

from fleet.dicom.errors import InvalidValueError

C_STORE_RQ: Final = 0x0001
C_STORE_RSP: Final = 0x8001
C_ECHO_RQ: Final = 0x0030
C_ECHO_RSP: Final = 0x8030
C_CANCEL_RQ: Final = 0x0FFF
NO_DATA_SET: Final = 0x0101

SUCCESS: Final = 0x0000
INVALID_INSTANCE: Final = 0x0117  # PS3.7 C.5.1
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
PROCESSING_FAILURE: Final = 0x0110
INVALID_ARGUMENT: Final = 0x0115  # PS3.7 C.5.3
NOT_AUTHORIZED: Final = 0x0124
UNRECOGNIZED_OPERATION: Final = 0x0211
OUT_OF_RESOURCES: Final = 0xA700  # PS3.4 table B.2-1
DATA_SET_MISMATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000

_CLASS, _REQUESTED_CLASS, _FIELD, _ID, _RESPONDED_TO = 0x0002, 0x0003, 0x0100, 0x0110, 0x0120
_PRIORITY, _DATA_SET_TYPE, _STATUS, _COMMENT, _INSTANCE = 0x0700, 0x0800, 0x0900, 0x0902, 0x1000


@dataclass(frozen=True, slots=True)
class CommandSet:
    """What a relay needs of a command set, whichever it is."""

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    status: int = 0


def _encode(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _uid(text: str) -> bytes:
    encoded = text.encode("latin-1")
    return encoded + b"\0" * (len(encoded) % 2)


def _us(value: int) -> bytes:
    return struct.pack("<H", value)


def encode_store_rq(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """C-STORE-RQ of medium priority (PS3.7 table 9.3-1)."""
    return _encode(
        (_CLASS, _uid(sop_class_uid)),
        (_FIELD, _us(C_STORE_RQ)),
        (_ID, _us(message_id)),
        (_PRIORITY, _us(0)),
        (_DATA_SET_TYPE, _us(1)),
        (_INSTANCE, _uid(sop_instance_uid)),
    )


def encode_response(request: CommandSet, status: int, comment: str = "") -> bytes:
    """The response to a request (PS3.7 tables 9.3-2 and 9.3-13): its field is the request's with the top bit."""
    elements = [(_CLASS, _uid(request.sop_class_uid))] if request.sop_class_uid else []
    elements += [
        (_FIELD, _us(request.field | 0x8000)),
        (_RESPONDED_TO, _us(request.message_id)),
        (_DATA_SET_TYPE, _us(NO_DATA_SET)),
        (_STATUS, _us(status)),
    ]
    if comment:  # PS3.7 C.5.2: LO, so at most 64 characters
        text = comment[:64].encode("ascii", "replace")
        elements.append((_COMMENT, text + b" " * (len(text) % 2)))
    if request.sop_instance_uid:
        elements.append((_INSTANCE, _uid(request.sop_instance_uid)))
    return _encode(*elements)


def decode_command(data: bytes) -> CommandSet:
    """A whole command set; PeerError when it contradicts itself or lacks what it must have."""
    elements = _read(data)
    command_field = _number(elements, _FIELD)
    identity = _RESPONDED_TO if command_field & 0x8000 or command_field == C_CANCEL_RQ else _ID
    return CommandSet(
        command_field,
        _number(elements, identity),
        _number(elements, _DATA_SET_TYPE) != NO_DATA_SET,
        _text(elements.get(_CLASS) or elements.get(_REQUESTED_CLASS, b"")),
        _text(elements.get(_INSTANCE, b"")),
        _number(elements, _STATUS) if command_field & 0x8000 else 0,
    )


def _read(data: bytes) -> dict[int, bytes]:
    elements: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise InvalidValueError("the command set is cut off in an element's header")
        group, element, length = struct.unpack_from("<HHI", data, at)
        at += 8
        if group != 0 or length > len(data) - at:
            raise InvalidValueError(f"element ({group:04X},{element:04X}) of the command set declares {length} bytes")
        elements[element] = data[at : at + length]
        at += length
    return elements


def _number(elements: dict[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise InvalidValueError(f"the command set has (0000,{element:04X}) of {len(value)} bytes, not 2")
    return int.from_bytes(value, "little")


def _text(value: bytes) -> str:
    return value.decode("latin-1").rstrip("\0 ")
