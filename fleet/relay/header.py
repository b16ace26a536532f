"""A few elements out of a data set's head, read without a DICOM library and without trusting a length.

Only what lies at the top level before the pixels is looked at; values in between are skipped by seeking. Depth,
number of elements and length of a value are bounded (T68).
"""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import BinaryIO, Final

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1")  # PS3.5 A.5 (and its image twin)
MAX_VALUE_BYTES: Final = 65_536
MAX_ELEMENTS: Final = 100_000
MAX_DEPTH: Final = 32
MAX_INFLATED_BYTES: Final = 4 * 1024 * 1024
_UNDEFINED: Final = 0xFFFFFFFF
_PIXELS: Final = 0x7FE00000
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
# PS3.5 7.1.2: these have two reserved bytes and a length of four.
_LONG_VR: Final = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))


class HeaderError(ValueError):
    """The data set's head contradicts itself; the words hold no value of it."""


class _Walker:
    """Goes through elements one after the other."""

    def __init__(self, file: BinaryIO, transfer_syntax_uid: str) -> None:
        self._file = file
        self._implicit = transfer_syntax_uid == IMPLICIT_LITTLE
        self._order = ">" if transfer_syntax_uid == EXPLICIT_BIG else "<"
        self._left = MAX_ELEMENTS

    def next_header(self, implicit: bool) -> tuple[int, bytes, int] | None:
        """Tag, VR and length of what comes; None at the end."""
        self._left -= 1
        if self._left < 0:
            raise HeaderError(f"more than {MAX_ELEMENTS} elements stand before the pixels")
        head = self._file.read(8)
        if not head:
            return None
        if len(head) < 8:
            raise HeaderError("an element is cut off in its header")
        group, element = struct.unpack_from(f"{self._order}HH", head)
        tag = group << 16 | element
        if implicit or group == 0xFFFE:
            return tag, b"", struct.unpack_from(f"{self._order}I", head, 4)[0]
        vr = head[4:6]
        if vr not in _LONG_VR:
            return tag, vr, struct.unpack_from(f"{self._order}H", head, 6)[0]
        rest = self._file.read(4)
        if len(rest) < 4:
            raise HeaderError("an element is cut off in its header")
        return tag, vr, struct.unpack(f"{self._order}I", rest)[0]

    def read_value(self, length: int) -> bytes:
        if length > MAX_VALUE_BYTES:
            raise HeaderError(f"an element that is asked for declares {length} bytes")
        value = self._file.read(length)
        if len(value) < length:
            raise HeaderError("the data set ends inside an element")
        return value

    def skip(self, length: int, implicit: bool, vr: bytes, depth: int = 0) -> None:
        """Go past a value; one of undefined length is walked through (PS3.5 7.5.1)."""
        if length != _UNDEFINED:
            self._file.seek(length, io.SEEK_CUR)
            return
        if depth > MAX_DEPTH:
            raise HeaderError(f"sequences are nested more than {MAX_DEPTH} deep")
        inside = implicit or vr == b"UN"  # PS3.5 6.2.2: UN of undefined length is implicit inside
        while (header := self.next_header(implicit=True)) is not None:
            tag, _, item_length = header
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise HeaderError("something else than an item stands in a sequence")
            if item_length != _UNDEFINED:
                self._file.seek(item_length, io.SEEK_CUR)
            else:
                self._skip_item(inside, depth + 1)
        raise HeaderError("the data set ends inside a sequence")

    def _skip_item(self, implicit: bool, depth: int) -> None:
        while (header := self.next_header(implicit)) is not None:
            tag, vr, length = header
            if tag == _ITEM_END:
                return
            self.skip(length, implicit, vr, depth)
        raise HeaderError("the data set ends inside an item")

    def elements(self, last: int) -> Iterator[tuple[int, bytes, int]]:
        """Headers at the top level up to the tag `last`; the caller reads or skips each value."""
        before = -1
        while (header := self.next_header(self._implicit)) is not None:
            tag = header[0]
            if tag <= before:
                raise HeaderError("elements do not stand in rising order")
            if tag > last or tag >= _PIXELS:
                return
            before = tag
            yield header

    @property
    def implicit(self) -> bool:
        return self._implicit


def read_elements(file: BinaryIO, transfer_syntax_uid: str, tags: frozenset[int]) -> dict[int, bytes]:
    """The values of those tags that are there; `file` stands at the data set's first byte."""
    if transfer_syntax_uid in DEFLATED:
        file = _inflate(file)
    walker = _Walker(file, transfer_syntax_uid)
    found: dict[int, bytes] = {}
    for tag, vr, length in walker.elements(max(tags)):
        if tag in tags and length != _UNDEFINED:
            found[tag] = walker.read_value(length)
        else:
            walker.skip(length, walker.implicit, vr)
    return found


def _inflate(file: BinaryIO) -> BinaryIO:
    """The head of a deflated data set, never more than a bound of it (T68: a deflate bomb)."""
    inflater = zlib.decompressobj(-15)
    made = bytearray()
    try:
        while len(made) < MAX_INFLATED_BYTES and (piece := file.read(65_536)):
            made += inflater.decompress(piece, MAX_INFLATED_BYTES - len(made))
    except zlib.error as error:
        raise HeaderError("the deflated data set cannot be inflated") from error
    return io.BytesIO(made)


def format_value(value: bytes, is_utf8: bool) -> str:
    """A text value; padding does not count (PS3.5 6.2)."""
    if is_utf8:
        with suppress(UnicodeDecodeError):
            return value.decode("utf-8").strip(" \0")
    return value.decode("latin-1").strip(" \0")


SPECIFIC_CHARACTER_SET: Final = 0x00080005
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
MODALITY: Final = 0x00080060
STUDY_INSTANCE_UID: Final = 0x0020000D
_ALWAYS: Final = frozenset((SPECIFIC_CHARACTER_SET, SOP_CLASS_UID, SOP_INSTANCE_UID, MODALITY, STUDY_INSTANCE_UID))


def read_texts(
    file: BinaryIO, transfer_syntax_uid: str, wanted: Mapping[str, int]
) -> tuple[dict[int, str], dict[str, str]]:
    """What every instance is known by, by tag, and the elements that routes ask about, by keyword."""
    found = read_elements(file, transfer_syntax_uid, _ALWAYS | frozenset(wanted.values()))
    is_utf8 = b"ISO_IR 192" in found.get(SPECIFIC_CHARACTER_SET, b"")
    texts = {tag: format_value(value, is_utf8) for tag, value in found.items()}
    return texts, {keyword: texts[tag] for keyword, tag in wanted.items() if tag in texts}
