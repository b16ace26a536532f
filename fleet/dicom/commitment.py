"""Storage commitment, the push model (PS3.4 annex J): the request and the report, as bytes.

A requestor asks by N-ACTION (PS3.7 10.1.4) who will answer for a list of instances; later, in the same association
or in one that the other side opens, an N-EVENT-REPORT (PS3.7 10.1.1) says for which of them it does.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fleet.dicom.errors import InvalidValueError

COMMITMENT_UID: Final = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE_UID: Final = "1.2.840.10008.1.20.1.1"  # PS3.4 J.3.5: well known
N_EVENT_REPORT_RQ: Final = 0x0100
N_ACTION_RQ: Final = 0x0130
N_ACTION_RSP: Final = 0x8130
REQUEST_ACTION: Final = 1  # PS3.4 table J.3-1
IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
MAX_DEPTH: Final = 4

_TRANSACTION, _FAILED, _REFERENCED = 0x00081195, 0x00081198, 0x00081199
_CLASS, _INSTANCE, _REASON = 0x00081150, 0x00081155, 0x00081197
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED: Final = 0xFFFFFFFF
_LONG: Final = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))

Reference = tuple[str, str]  # SOP class, SOP instance


@dataclass(frozen=True, slots=True)
class Report:
    """What a destination answers for, and what it does not, with the reason (PS3.3 C.14.1.1)."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[str, str, int], ...]


def encode_action_rq(message_id: int) -> bytes:
    """The command set of N-ACTION-RQ (PS3.7 table 10.3-7); its data set follows."""
    return _command(
        (0x0003, _uid(COMMITMENT_UID)),
        (0x0100, struct.pack("<H", N_ACTION_RQ)),
        (0x0110, struct.pack("<H", message_id)),
        (0x0800, struct.pack("<H", 1)),
        (0x1001, _uid(COMMITMENT_INSTANCE_UID)),
        (0x1008, struct.pack("<H", REQUEST_ACTION)),
    )


def encode_event_report_rq(message_id: int, has_failures: bool) -> bytes:
    """The command set of N-EVENT-REPORT-RQ (PS3.7 table 10.3-1): event 1 all is well, 2 failures exist."""
    return _command(
        (0x0002, _uid(COMMITMENT_UID)),
        (0x0100, struct.pack("<H", N_EVENT_REPORT_RQ)),
        (0x0110, struct.pack("<H", message_id)),
        (0x0800, struct.pack("<H", 1)),
        (0x1000, _uid(COMMITMENT_INSTANCE_UID)),
        (0x1002, struct.pack("<H", 2 if has_failures else 1)),
    )


def encode_request(transaction_uid: str, references: Sequence[Reference]) -> bytes:
    """The data set of a request (PS3.4 table J.3-1), Implicit VR Little Endian."""
    return _element(_TRANSACTION, _uid(transaction_uid)) + _element(_REFERENCED, _items(references))


def encode_report(report: Report) -> bytes:
    """The data set of a report (PS3.4 table J.3-2), Implicit VR Little Endian."""
    data = _element(_TRANSACTION, _uid(report.transaction_uid))
    if report.failed:
        items = b"".join(
            _element(_ITEM, _reference(sop_class, instance) + _element(_REASON, struct.pack("<H", reason)))
            for sop_class, instance, reason in report.failed
        )
        data += _element(_FAILED, items)
    return data + (_element(_REFERENCED, _items(report.committed)) if report.committed else b"")


def decode_report(data: bytes, transfer_syntax: str) -> Report:
    """A report, or a request, which has the same form; `InvalidValueError` for what is neither."""
    transaction, committed, failed = "", [], []
    for tag, value in _Elements(data, transfer_syntax != IMPLICIT_LITTLE).top():
        if tag == _TRANSACTION and isinstance(value, bytes):
            transaction = _text(value)
        elif tag in {_REFERENCED, _FAILED} and isinstance(value, list):
            for item in value:
                found = (_text(item.get(_CLASS, b"")), _text(item.get(_INSTANCE, b"")))
                if tag == _REFERENCED:
                    committed.append(found)
                else:
                    failed.append((*found, int.from_bytes(item.get(_REASON, b"")[:2], "little")))
    if not transaction:
        raise InvalidValueError("a report of storage commitment names no transaction")
    return Report(transaction, tuple(committed), tuple(failed))


class _Elements:
    """Goes through the elements of a small data set that is wholly here."""

    def __init__(self, data: bytes, is_explicit: bool) -> None:
        self._data, self._is_explicit, self._at = data, is_explicit, 0

    def top(self) -> Iterator[tuple[int, "bytes | list[dict[int, bytes]]"]]:
        while self._at < len(self._data):
            tag, length = self._header()
            if tag in {_REFERENCED, _FAILED}:
                yield tag, self._sequence(length, 1)
            else:
                yield tag, self._value(length, 1)

    def _header(self) -> tuple[int, int]:
        head = self._take(8)
        group, element = struct.unpack_from("<HH", head)
        tag = group << 16 | element
        if not self._is_explicit or group == 0xFFFE:
            return tag, struct.unpack_from("<I", head, 4)[0]
        if head[4:6] in _LONG:
            return tag, struct.unpack("<I", self._take(4))[0]
        return tag, struct.unpack_from("<H", head, 6)[0]

    def _take(self, length: int) -> bytes:
        if length > len(self._data) - self._at:
            raise InvalidValueError("a report of storage commitment is cut off")
        self._at += length
        return self._data[self._at - length : self._at]

    def _value(self, length: int, depth: int) -> bytes:
        if length != _UNDEFINED:
            return self._take(length)
        self._sequence(length, depth)  # a sequence that nobody asks about
        return b""

    def _sequence(self, length: int, depth: int) -> list[dict[int, bytes]]:
        if depth > MAX_DEPTH:
            raise InvalidValueError("a report of storage commitment is nested too deeply")
        end = len(self._data) if length == _UNDEFINED else self._at + length
        items = []
        while self._at < end:
            tag, size = self._header()
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise InvalidValueError("something else than an item stands in a sequence")
            items.append(self._item(size, depth))
        return items

    def _item(self, length: int, depth: int) -> dict[int, bytes]:
        end = len(self._data) if length == _UNDEFINED else self._at + length
        found: dict[int, bytes] = {}
        while self._at < end:
            tag, size = self._header()
            if tag == _ITEM_END:
                break
            found[tag] = self._value(size, depth + 1)
        return found


def _command(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<HHI", 0, element, len(value)) + value for element, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _element(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def _reference(sop_class: str, instance: str) -> bytes:
    return _element(_CLASS, _uid(sop_class)) + _element(_INSTANCE, _uid(instance))


def _items(references: Sequence[Reference]) -> bytes:
    return b"".join(_element(_ITEM, _reference(*each)) for each in references)


def _uid(text: str) -> bytes:
    encoded = text.encode("latin-1")
    return encoded + b"\0" * (len(encoded) % 2)


def _text(value: bytes) -> str:
    return value.decode("latin-1").rstrip("\0 ")
