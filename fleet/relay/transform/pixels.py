"""The pixel element on its way out of a route that de-identifies: pixels as they are, zeros for what is none.

Of native pixels that is what stands behind the last row; of RLE (PS3.5 annex G) what no decoder reads; of JPEG and
JPEG 2000 comments, application data and the like; MPEG is not taken apart. All bytes that go out are looked through
for the values that were removed from the header. What cannot be read as its transfer syntax demands does not go.
"""

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from fleet.relay.transform.elements import CannotDeidentifyError, read_number
from fleet.relay.transform.file import Opened
from fleet.relay.transform.fragments import Fragments, array_of
from fleet.relay.transform.identity import LEAST_CODED, LEAST_PLAIN, Identity, Needles, fold
from fleet.relay.transform.jpeg import clean_jpeg, clean_jpeg_2000

_UNDEFINED: Final = 0xFFFFFFFF
_PIECE: Final = 1 << 20
_BASE: Final = "1.2.840.10008.1.2"
_NATIVE: Final = frozenset({_BASE, f"{_BASE}.1", f"{_BASE}.2", f"{_BASE}.1.99"})
_RLE: Final = f"{_BASE}.5"
_UNCOMPRESSED: Final = f"{_BASE}.1.98"
_JPEG: Final = frozenset(f"{_BASE}.4.{number}" for number in range(50, 71))
_JPEG_LS: Final = frozenset({f"{_BASE}.4.80", f"{_BASE}.4.81"})
_JPEG_2000: Final = frozenset(f"{_BASE}.4.{number}" for number in (90, 91, 92, 93, 201, 202, 203))
_MPEG: Final = tuple(f"{_BASE}.4.{number}" for number in range(100, 109))
# A start code (ISO/IEC 13818-2, 14496-10, 23008-2), a packet of a transport stream, or a box of ISO/IEC 14496-12.
_MPEG_BEGINS: Final = (b"\0\0\1", b"\0\0\0\1", b"\x47")
_HALVED: Final = {"YBR_FULL_422": (2, 3), "YBR_PARTIAL_422": (2, 3), "YBR_PARTIAL_420": (1, 2)}
_OFFSETS: Final = (0x7FE00001, 0x7FE00002)  # ExtendedOffsetTable and its lengths


@dataclass(frozen=True, slots=True)
class CleanPixels:
    """What is written in the place of a pixel element."""

    opened: Opened
    head: bytes
    start: int  # in the body, what follows the head
    stop: int
    end: bytes
    blanks: "array[int]"
    needles: Needles

    @property
    def length(self) -> int:
        return len(self.head) + self.stop - self.start + len(self.end)

    def pieces(self) -> Iterator[bytes]:
        """Bytes as they are written. Raises `CannotDeidentifyError` when one of the values looked for is in them."""
        longest, before = self.needles.longest, b""
        for piece in self._read():
            folded = before + fold(piece)
            if self.needles.are_in(folded):
                raise CannotDeidentifyError("PixelData holds a value that was removed from the header")
            before = folded[-longest + 1 :] if longest > 1 else b""
            yield piece

    def _read(self) -> Iterator[bytes]:
        yield self.head
        at, next_blank = self.start, 0
        while at < self.stop:
            self.opened.body.seek(at)
            piece = self.opened.body.read(min(_PIECE, self.stop - at))
            if not piece:
                raise CannotDeidentifyError("PixelData became shorter while it was read")
            end, changed = at + len(piece), None
            while next_blank < len(self.blanks) and self.blanks[next_blank] < end:
                changed = bytearray(piece) if changed is None else changed
                first, last = max(self.blanks[next_blank], at) - at, min(self.blanks[next_blank + 1], end) - at
                changed[first:last] = bytes(last - first)
                if self.blanks[next_blank + 1] > end:
                    break
                next_blank += 2
            yield piece if changed is None else bytes(changed)
            at = end
        yield self.end


def clean_pixels(opened: Opened, identity: Identity) -> CleanPixels | None:
    """How the pixel element goes out, None where there is none; offset tables that are none leave the header."""
    start, stop = opened.pixels
    tables = [opened.header[tag].value for tag in _OFFSETS if tag in opened.header]
    if start == stop:
        _drop_tables(opened.header)
        return None
    opened.body.seek(start)
    head = opened.body.read(8 if opened.is_implicit else 12)
    length = struct.unpack("<L" if opened.is_little_endian else ">L", head[-4:])[0]
    head = head if opened.is_implicit else head[:6] + b"\0\0" + head[8:]
    if (length != _UNDEFINED) != (opened.transfer_syntax in _NATIVE):
        raise CannotDeidentifyError("PixelData is encapsulated or not, other than its transfer syntax says")
    start += len(head)
    if length != _UNDEFINED:
        _drop_tables(opened.header)
        blanks = _clean_native(opened, start, stop)
        return CleanPixels(opened, head, start, stop, b"", blanks, identity.needles(LEAST_PLAIN))
    stream = Fragments(opened.body, start)
    _clean_fragments(opened, stream)
    if not _are_true(stream, tables):
        _drop_tables(opened.header)
    if not stream.has_true_table():  # an empty one says nothing and is allowed (PS3.5 A.4)
        head, start = head + b"\xfe\xff\x00\xe0\0\0\0\0", stream.first
    least = LEAST_PLAIN if opened.transfer_syntax in {_UNCOMPRESSED, _RLE} else LEAST_CODED
    end = b"\xfe\xff\xdd\xe0\0\0\0\0"
    return CleanPixels(opened, head, start, stream.end, end, stream.blanks, identity.needles(least))


def _clean_fragments(opened: Opened, stream: Fragments) -> None:
    syntax = opened.transfer_syntax
    if syntax in _JPEG or syntax in _JPEG_LS:
        clean_jpeg(stream, syntax in _JPEG_LS)
    elif syntax in _JPEG_2000:
        clean_jpeg_2000(stream)
    elif syntax == _RLE:
        _clean_rle(stream, opened.header)
    elif syntax == _UNCOMPRESSED:
        size = (_frame_bits(opened.header) + 7) // 8
        for start, stop in stream.bounds():
            _check_surplus(stop - start - size, size)
            stream.blank(start + size, stop)
    elif syntax.startswith(_MPEG):
        begin = stream.read(0, 8)
        if not begin.startswith(_MPEG_BEGINS) and begin[4:] != b"ftyp":
            raise CannotDeidentifyError("PixelData does not begin as MPEG does")
    else:
        raise CannotDeidentifyError("PixelData is of a transfer syntax that cannot be looked into")


def _drop_tables(header: Dataset) -> None:
    for tag in _OFFSETS:
        if tag in header:
            del header[tag]


def _are_true(stream: Fragments, tables: list[object]) -> bool:
    """Whether the Extended Offset Table holds offsets and lengths and nothing else (PS3.3 C.7.6.3.1.8)."""
    if not tables:
        return True
    whole = [table for table in tables if isinstance(table, bytes) and len(table) % 8 == 0]
    if len(whole) != 2:
        return False
    offsets, lengths = (array_of(table, "Q", 8) for table in whole)
    return stream.are_offsets(offsets) and stream.are_lengths(lengths) and len(offsets) == len(lengths)


# Native and RLE --------------------------------------------------------------------------------------------


def _frame_bits(header: Dataset) -> int:
    rows, columns, bits = (read_number(header, keyword) for keyword in ("Rows", "Columns", "BitsAllocated"))
    return rows * columns * bits * read_number(header, "SamplesPerPixel", 1)


def _clean_native(opened: Opened, start: int, stop: int) -> "array[int]":
    """Blanks behind the last row; what is shorter than it should be goes as it is."""
    bits, frames = _frame_bits(opened.header), read_number(opened.header, "NumberOfFrames", 1) or 1
    whole = (bits * frames + 7) // 8
    share = _HALVED.get(str(opened.header.get("PhotometricInterpretation", "")), (1, 1))
    if stop - start < whole:  # subsampled, as it says, or not, as some write nevertheless
        whole = (bits * frames * share[0] // share[1] + 7) // 8
    _check_surplus(stop - start - whole, bits // 8)
    return array("Q", (start + whole, stop) if start + whole < stop else ())


def _check_surplus(surplus: int, frame: int) -> None:
    if surplus >= max(frame, 2):  # one byte is padding
        raise CannotDeidentifyError("PixelData is longer by a frame than Rows, Columns and NumberOfFrames say")


def _clean_rle(stream: Fragments, header: Dataset) -> None:
    """PS3.5 annex G: a frame is a fragment; gaps, unused offsets and what follows a segment's last byte go."""
    bits = read_number(header, "BitsAllocated")
    pixels = read_number(header, "Rows") * read_number(header, "Columns")
    need = pixels if bits > 1 else (pixels + 7) // 8
    for start, stop in stream.bounds():
        count, *offsets = array_of(stream.read(start, 64).ljust(64, b"\0"), "L", 4)
        used = [start + offset for offset in offsets[:count]]
        if not 0 < count < 16 or used[0] != start + 64 or used != sorted(used) or used[-1] > stop:
            raise CannotDeidentifyError("PixelData does not begin a frame as RLE does (PS3.5 G.5)")
        stream.blank(start + 4 + 4 * count, start + 64)
        for first, end in zip(used, [*used[1:], stop], strict=True):
            stream.blank(_find_segment_end(stream, first, end, need), end)


def _find_segment_end(stream: Fragments, at: int, stop: int, need: int) -> int:
    have = surplus = 0
    while have < need and at < stop:
        piece, i = stream.read(at, min(1 << 16, stop - at)), 0
        while have < need and i < len(piece):
            code = piece[i]
            if code < 128:
                i, have = i + code + 2, have + code + 1
                surplus = max(have - need, 0)
            else:
                i, have = i + (2 if code > 128 else 1), have + (257 - code if code > 128 else 0)
        at += i
    return min(at - surplus, stop)
