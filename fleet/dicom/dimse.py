"""C-ECHO in command sets (PS3.7 9.1.5, 9.3.5, annex E): always Implicit VR Little Endian, group 0000."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from fleet.dicom.errors import InvalidValueError
from fleet.dicom.items import decode_uid
from fleet.dicom.pdu import PresentationDataValue

VERIFICATION_UID = "1.2.840.10008.1.1"
IMPLICIT_VR_LITTLE_ENDIAN_UID = "1.2.840.10008.1.2"
C_ECHO_RQ = 0x0030
C_ECHO_RSP = 0x8030
NO_DATA_SET = 0x0101  # PS3.7 table E.1-1: any other value announces a data set
MAX_COMMAND_BYTES = 65_536

_GROUP_LENGTH, _SOP_CLASS, _FIELD = 0x0000, 0x0002, 0x0100
_MESSAGE_ID, _RESPONDED_TO, _DATA_SET_TYPE = 0x0110, 0x0120, 0x0800
_STATUS, _ERROR_COMMENT = 0x0900, 0x0902


@dataclass(frozen=True, slots=True)
class EchoRQ:
    """C-ECHO-RQ (PS3.7 table 9.3-12)."""

    message_id: int
    affected_sop_class_uid: str = VERIFICATION_UID
    has_data_set: bool = False

    def encode(self) -> bytes:
        return _encode_command_set(
            (_SOP_CLASS, _uid_bytes(self.affected_sop_class_uid)),
            (_FIELD, _us(C_ECHO_RQ)),
            (_MESSAGE_ID, _us(self.message_id)),
            (_DATA_SET_TYPE, _us(0x0001 if self.has_data_set else NO_DATA_SET)),
        )


@dataclass(frozen=True, slots=True)
class EchoRSP:
    """C-ECHO-RSP (PS3.7 table 9.3-13)."""

    message_id_responded_to: int
    status: int
    error_comment: str = ""
    affected_sop_class_uid: str = VERIFICATION_UID
    has_data_set: bool = False

    def encode(self) -> bytes:
        elements = [
            (_SOP_CLASS, _uid_bytes(self.affected_sop_class_uid)),
            (_FIELD, _us(C_ECHO_RSP)),
            (_RESPONDED_TO, _us(self.message_id_responded_to)),
            (_DATA_SET_TYPE, _us(0x0001 if self.has_data_set else NO_DATA_SET)),
            (_STATUS, _us(self.status)),
        ]
        if self.error_comment:
            comment = self.error_comment.encode("latin-1")
            elements.append((_ERROR_COMMENT, comment + b" " * (len(comment) % 2)))
        return _encode_command_set(*elements)


@dataclass(frozen=True, slots=True)
class OtherCommand:
    """A command that is no C-ECHO."""

    command_field: int
    message_id: int | None
    has_data_set: bool


Command = EchoRQ | EchoRSP | OtherCommand


def _us(value: int) -> bytes:
    return struct.pack("<H", value)


def _uid_bytes(uid: str) -> bytes:
    encoded = uid.encode("latin-1")
    return encoded + b"\0" * (len(encoded) % 2)


def _encode_command_set(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements)
    return struct.pack("<HHII", 0, _GROUP_LENGTH, 4, len(body)) + body


def _read_elements(data: bytes) -> dict[int, bytes]:
    """Elements of group 0000 by number. The group length is not trusted, peers get it wrong."""
    elements: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise InvalidValueError("the command set is cut off in an element's header")
        group, element, length = struct.unpack_from("<HHI", data, at)
        at += 8
        if group != 0:
            raise InvalidValueError(f"the command set holds an element of group {group:04X}")
        if length > len(data) - at:
            raise InvalidValueError(f"element (0000,{element:04X}) declares {length} bytes; {len(data) - at} are left")
        elements[element] = data[at : at + length]
        at += length
    return elements


def decode_command(data: bytes) -> Command:
    """Decode a whole command set."""
    elements = _read_elements(data)
    command_field = _required(elements, _FIELD)
    has_data_set = _required(elements, _DATA_SET_TYPE) != NO_DATA_SET
    sop_class = decode_uid(elements.get(_SOP_CLASS, b""))
    if command_field == C_ECHO_RQ:
        return EchoRQ(_required(elements, _MESSAGE_ID), sop_class, has_data_set)
    if command_field == C_ECHO_RSP:
        comment = elements.get(_ERROR_COMMENT, b"").decode("latin-1").rstrip(" \0")
        responded_to, status = _required(elements, _RESPONDED_TO), _required(elements, _STATUS)
        return EchoRSP(responded_to, status, comment, sop_class, has_data_set)
    message_id = _optional(elements, _MESSAGE_ID)
    return OtherCommand(command_field, message_id, has_data_set)


def _optional(elements: dict[int, bytes], element: int) -> int | None:
    value = elements.get(element)
    if value is None:
        return None
    if len(value) != 2:
        raise InvalidValueError(f"element (0000,{element:04X}) holds {len(value)} bytes, not 2")
    return int.from_bytes(value, "little")


def _required(elements: dict[int, bytes], element: int) -> int:
    value = _optional(elements, element)
    if value is None:
        raise InvalidValueError(f"the command set lacks (0000,{element:04X})")
    return value


class CommandAssembler:
    """Puts the fragments of a command set together; fragments of data sets are counted and dropped."""

    data_set_bytes = 0
    _buffer: bytes | bytearray = b""
    _context_id: int | None = None

    def __init__(self, decode: Callable[[bytes], Command] = decode_command) -> None:
        self._decode = decode

    def add(self, value: PresentationDataValue) -> tuple[int, Command] | None:
        """Return the context and the command when *value* completes one."""
        if not value.is_command:
            self.data_set_bytes += len(value.data)
            return None
        context_id, data = value.context_id, value.data
        if self._context_id is None:
            self._context_id = context_id
        elif self._context_id != context_id:
            raise InvalidValueError("a command set is spread over two presentation contexts")
        if len(self._buffer) + len(data) > MAX_COMMAND_BYTES:
            raise InvalidValueError(f"a command set exceeds {MAX_COMMAND_BYTES} bytes")
        if not value.is_last:
            self._buffer = self._buffer or bytearray()
            self._buffer += data
            return None
        whole = bytes(self._buffer) + data if self._buffer else data  # the usual case: one fragment is all
        self._buffer = b""
        self._context_id = None
        return context_id, self._decode(whole)
