"""Cuts a peer's bytes into PDUs of the association and fragments of messages, without holding a P-DATA-TF in memory.

The core's reader gathers whole PDUs; a relay writes pixels to disk as they come, so here a P-DATA-TF passes through
in pieces. Type and lengths are judged by the headers, before anything is kept (T68): what waits here is at most one
association PDU of 64 KB or twelve bytes of headers.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fleet.dicom.errors import InvalidValueError
from fleet.dicom.pdu import HEADER_BYTES, check_header

DATA_TF: Final = 0x04


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a presentation data value; `ends` says that it completes its command or data set."""

    context_id: int
    is_command: bool
    data: memoryview
    ends: bool


class PduStream:
    """Bytes in; whole association PDUs and pieces of messages out."""

    __slots__ = ("_context_id", "_control", "_head", "_max_data_bytes", "_pdu_left", "_pdv_left", "_whole")

    def __init__(self, max_data_bytes: int) -> None:
        self._max_data_bytes = max_data_bytes
        self._head = bytearray()  # the unfinished header, or the unfinished association PDU
        self._whole = 0  # how long the association PDU in `_head` will be
        self._pdu_left = 0
        self._pdv_left = 0
        self._context_id = self._control = 0

    @property
    def is_inside(self) -> bool:
        """Whether a PDU has begun and not ended."""
        return bool(self._head or self._pdu_left or self._pdv_left)

    def feed(self, data: memoryview) -> Iterator[bytes | Fragment]:
        """Go through `data` wholly; raises PeerError where the stream has no frame any more."""
        at, end = 0, len(data)
        while at < end:
            if self._pdv_left:
                take = min(self._pdv_left, end - at)
                yield self._fragment(data[at : at + take])
                at += take
                continue
            wanted = self._whole or HEADER_BYTES
            take = min(wanted - len(self._head), end - at)
            self._head += data[at : at + take]
            at += take
            if len(self._head) == wanted:
                yield from self._header_done()
            elif not self._pdu_left and not self._whole:
                _check_type(self._head, self._max_data_bytes)

    def _header_done(self) -> Iterator[bytes | Fragment]:
        head = bytes(self._head)
        if self._pdu_left:
            self._head.clear()
            yield from self._begin_value(head)
        elif self._whole:
            self._head.clear()
            self._whole = 0
            yield head
        else:
            whole = check_header(head, self._max_data_bytes)
            if head[0] != DATA_TF:
                self._whole = whole
                if whole == HEADER_BYTES:
                    yield from self._header_done()
                return
            self._head.clear()
            self._pdu_left = whole - HEADER_BYTES
            if self._pdu_left < HEADER_BYTES:  # PS3.8 table 9-22: one value or more, each with its header
                raise InvalidValueError("a P-DATA-TF holds no presentation data value")

    def _begin_value(self, head: bytes) -> Iterator[Fragment]:
        length, self._context_id, self._control = struct.unpack(">IBB", head)
        if length < 2 or length + 4 > self._pdu_left:
            raise InvalidValueError(f"a presentation data value declares {length} bytes")
        rest = self._pdu_left - length - 4
        if 0 < rest < HEADER_BYTES:
            raise InvalidValueError("a presentation data value is cut off in its header")
        self._pdu_left, self._pdv_left = rest, length - 2
        if not self._pdv_left:
            yield self._fragment(memoryview(b""))

    def _fragment(self, data: memoryview) -> Fragment:
        self._pdv_left -= len(data)
        ends = not self._pdv_left and bool(self._control & 2)
        return Fragment(self._context_id, bool(self._control & 1), data, ends)


def _check_type(head: bytearray, max_data_bytes: int) -> None:
    """A first byte that is no PDU type is told at once, not after six."""
    check_header(bytes((head[0], 0, 0, 0, 0, 4)), max_data_bytes)
