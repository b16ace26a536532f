"""Marker segments of JPEG (ITU-T T.81), JPEG-LS (T.87) and JPEG 2000 (T.800, T.801, T.814): what is no picture goes.

Comments and application data are blanked, and what stands behind the end of a frame. What a decoder needs of them
stays: JFIF without its thumbnail, Adobe's colour transform, SPIFF's fixed header, and HP's colour transform.
"""

import re
from collections.abc import Callable
from typing import Final

from fleet.relay.transform.elements import CannotDeidentifyError
from fleet.relay.transform.fragments import Fragments

_SOI, _EOI, _SOS, _COM, _LSE = 0xFFD8, 0xFFD9, 0xFFDA, 0xFFFE, 0xFFF8
# Frames, tables and the like (T.81 table B.1), but for SOF 0xFFC8, which is reserved.
_PICTURE: Final = frozenset({*range(0xFFC0, 0xFFD0), *range(0xFFDA, 0xFFE0), 0xFFF7, _LSE} - {0xFFC8})
_FIXED: Final = {0xFFDD: 4, 0xFFDC: 4, 0xFFDF: 3}  # DRI, DNL and EXP have no room for anything else
_COMPONENTS: Final = frozenset({*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC})
# In a scan FF is followed by 00 or a restart (T.81 F.1.2.3), in JPEG-LS by a byte below 80 (T.87 A.1).
_END_OF_SCAN: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_END_OF_SCAN_LS: Final = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
# What of application data stays: how it begins, how long the segment is, how much of it a decoder may need.
_NEEDED: Final = (
    (0xFFE0, b"JFIF\0", None, 12),
    (0xFFEE, b"Adobe", None, 12),
    (0xFFE8, b"SPIFF\0", 32, 30),
    (0xFFE8, b"\0\0\0\1\xff\xd8", 8, 6),
    (0xFFE8, b"mrfx", 7, 5),
)
_SOC, _SIZ, _SOT, _SOD, _EOC, _COM_2000 = 0xFF4F, 0xFF51, 0xFF90, 0xFF93, 0xFFD9, 0xFF64
_MAIN: Final = frozenset(
    {0xFF50, _SIZ, 0xFF52, 0xFF53, *range(0xFF55, 0xFF5A), *range(0xFF5C, 0xFF62), 0xFF63, *range(0xFF70, 0xFF7A)}
)
_SCAN_PIECE: Final = 1 << 18


def clean_jpeg(stream: Fragments, is_ls: bool) -> None:
    """Blanks what is no picture in every frame. Raises `CannotDeidentifyError` for what is no JPEG."""
    at = 0
    while at < stream.length:
        if stream.read(at, 3) != b"\xff\xd8\xff":
            raise CannotDeidentifyError("PixelData does not begin a frame as JPEG does (SOI)")
        at = _clean_frame(stream, at + 2, _END_OF_SCAN_LS if is_ls else _END_OF_SCAN)
        at = _blank_rest(stream, at)


def clean_jpeg_2000(stream: Fragments) -> None:
    """The same for code streams of JPEG 2000."""
    at = 0
    while at < stream.length:
        if stream.read(at, 4) != b"\xff\x4f\xff\x51":
            raise CannotDeidentifyError("PixelData does not begin a frame as JPEG 2000 does (SOC, SIZ)")
        at = _clean_header(stream, at + 2, _SOT)
        while stream.read_number(at, 2) == _SOT:
            at = _clean_tile_part(stream, at)
        if stream.read_number(at, 2) != _EOC:
            raise CannotDeidentifyError("PixelData has a code stream without its end (EOC)")
        at = _blank_rest(stream, at + 2)


def _blank_rest(stream: Fragments, at: int) -> int:
    """Of the fragment in which a frame ends; the next frame begins with the next one."""
    end = stream.find_end(at - 1)
    stream.blank(at, end)
    return end


def _clean_frame(stream: Fragments, at: int, end_of_scan: re.Pattern[bytes]) -> int:
    while True:
        while (marker := stream.read_number(at, 2)) == 0xFFFF:  # fill bytes (T.81 B.1.1.2)
            at += 1
        at += 2
        if marker == _EOI:
            return at
        if 0xFFD0 <= marker <= 0xFFD7:
            continue
        length = stream.read_number(at, 2)
        if length < 2 or at + length > stream.length:
            raise CannotDeidentifyError("PixelData has a marker segment that is longer than its frame")
        if 0xFFE0 <= marker <= 0xFFEF or marker == _COM:
            _blank_segment(stream, marker, at, length)
        else:
            _check_segment(stream, marker, at, length)
        at += length
        if marker == _SOS:
            at = _find(stream, at, end_of_scan)


def _blank_segment(stream: Fragments, marker: int, at: int, length: int) -> None:
    head = stream.read(at + 2, 6)
    needed = next(
        (
            size
            for kind, begin, whole, size in _NEEDED
            if kind == marker and head.startswith(begin) and whole in {None, length}
        ),
        0,
    )
    if marker == 0xFFE0 and needed and length < 16:
        needed = 0
    stream.blank(at + 2 + min(needed, length - 2), at + length)


def _check_segment(stream: Fragments, marker: int, at: int, length: int) -> None:
    """Whether a segment is one of a picture and has no room behind what it is for."""
    if marker not in _PICTURE:
        raise CannotDeidentifyError(f"PixelData has the marker {marker:04X} where none of a picture's may be")
    wanted = _FIXED.get(marker, length)
    if marker in _COMPONENTS:
        wanted = 8 + 3 * stream.read_number(at + 7, 1)
    elif marker == _SOS:
        wanted = 6 + 2 * stream.read_number(at + 2, 1)
    elif marker == _LSE and stream.read_number(at + 2, 1) == 1:
        wanted = 13
    elif marker == 0xFFC4:
        wanted = _measure_tables(at, length, lambda place: 17 + sum(stream.read(place + 1, 16)))
    elif marker == 0xFFDB:
        wanted = _measure_tables(at, length, lambda place: 129 if stream.read_number(place, 1) >> 4 else 65)
    if wanted != length:
        raise CannotDeidentifyError(f"PixelData has a marker segment {marker:04X} that is longer than what it holds")


def _measure_tables(at: int, length: int, measure: Callable[[int], int]) -> int:
    place = at + 2
    while place < at + length:
        place += measure(place)
    return place - at


def _find(stream: Fragments, at: int, wanted: re.Pattern[bytes]) -> int:
    while len(piece := stream.read(at, _SCAN_PIECE)) > 1:
        if found := wanted.search(piece):
            return at + found.start()
        at += len(piece) - 1
    raise CannotDeidentifyError("PixelData has a frame without its end (EOI)")


def _clean_header(stream: Fragments, at: int, last: int) -> int:
    """Of a code stream or a tile-part, up to the marker that ends it."""
    while (marker := stream.read_number(at, 2)) != last:
        length = stream.read_number(at + 2, 2)
        if length < 2 or at + 2 + length > stream.length:
            raise CannotDeidentifyError("PixelData has a marker segment that is longer than its frame")
        if marker == _COM_2000:
            stream.blank(at + 4, at + 2 + length)
        elif marker not in _MAIN:
            raise CannotDeidentifyError(f"PixelData has the marker {marker:04X} where none of a picture's may be")
        elif marker == _SIZ and length != 38 + 3 * stream.read_number(at + 38, 2):
            raise CannotDeidentifyError("PixelData has a marker segment FF51 that is longer than what it holds")
        at += 2 + length
    return at


def _clean_tile_part(stream: Fragments, start: int) -> int:
    if stream.read_number(start + 2, 2) != 10:
        raise CannotDeidentifyError("PixelData has a marker segment FF90 that is longer than what it holds")
    data = _clean_header(stream, start + 12, _SOD) + 2
    length = stream.read_number(start + 6, 4)  # Psot; 0 for one that goes on to the end (T.800 A.4.2)
    end = start + length if length else _find(stream, data, re.compile(rb"\xff\xd9"))
    if not data <= end < stream.length:
        raise CannotDeidentifyError("PixelData has a tile-part that is longer than its frame")
    return end
