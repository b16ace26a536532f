"""A Part 10 file as header, pixels and tail, so that the pixels pass through as the bytes that they are.

The header is read as a data set and written again; elements that nobody touches are written as they were read. The
pixel element, encapsulated or not, is found by its own lengths and copied in pieces. A deflated data set (PS3.5
A.5) is inflated within a limit, and deflated again.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, Final, cast

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

IMPLEMENTATION_CLASS_UID: Final = "2.25.288288099348698175073514066236783094568"
IMPLEMENTATION_VERSION: Final = "FLEET_RELAY"
_HEAD: Final = b"\0" * 128 + b"DICM"  # T79: a preamble may be a program, so none is carried over
_IMPLICIT: Final = "1.2.840.10008.1.2"
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_LONG_LENGTH: Final = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN"})  # PS3.5 table 7.1-1
_UNDEFINED: Final = 0xFFFFFFFF
_PIECE: Final = 1 << 20
_MOST_IN_MEMORY: Final = 16 << 20
_LONGEST_INFLATED: Final = 1 << 30


class UnreadableInstanceError(Exception):
    """A file that is not what Part 10 says; the message holds no value of it."""


@dataclass(slots=True)
class Opened:
    """A file taken apart. `body` holds the data set (the file itself, or what was inflated)."""

    transfer_syntax: str
    header: Dataset
    body: BinaryIO
    pixels: tuple[int, int]  # from, to in `body`; equal where there are none
    tail: Dataset

    @property
    def is_implicit(self) -> bool:
        return self.transfer_syntax == _IMPLICIT

    @property
    def is_little_endian(self) -> bool:
        return self.transfer_syntax != _BIG_ENDIAN


@contextmanager
def open_instance(path: Path) -> Iterator[Opened]:
    """A file taken apart, open while its pixels may be asked for. Raises `UnreadableInstanceError`."""
    with ExitStack() as under:
        file: BinaryIO = under.enter_context(path.open("rb"))
        syntax = _read_meta(file)
        body = file
        if syntax == _DEFLATED:  # a large one is inflated to a file without a name
            plain = under.enter_context(SpooledTemporaryFile(_MOST_IN_MEMORY, dir=str(path.parent)))
            body = cast("BinaryIO", plain)
            _inflate(file, body)
        implicit, little = syntax == _IMPLICIT, syntax != _BIG_ENDIAN
        header = _read_elements(body, implicit, little)
        start = body.tell()
        end = _find_end(body, implicit, little)
        tail = _read_elements(body, implicit, little) if end > start else Dataset()
        if end > start and body.read(1):  # the library stops at them, and what they hold would be left out in silence
            raise UnreadableInstanceError("it has pixel data twice")
        yield Opened(syntax, header, body, (start, end), tail)


def write_instance(opened: Opened, path: Path, pixels: Iterable[bytes] | None = None) -> None:
    """A new file, mode 0600, with the header as it is now and the pixels as they were, unless others are given."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(_HEAD + _encode_meta(opened))
        pixels = _read_pixels(opened) if pixels is None else pixels
        pieces = chain((encode(opened, opened.header),), pixels, (encode(opened, opened.tail),))
        for piece in _deflate(pieces) if opened.transfer_syntax == _DEFLATED else pieces:
            file.write(piece)


def encode(opened: Opened, dataset: Dataset) -> bytes:
    """A data set in the transfer syntax of its file."""
    buffer = DicomIO(BytesIO())
    buffer.is_implicit_VR, buffer.is_little_endian = opened.is_implicit, opened.is_little_endian
    charset = opened.header.get("SpecificCharacterSet", "ISO_IR 6") or "ISO_IR 6"
    write_dataset(buffer, dataset, charset)
    return bytes(buffer.parent.getvalue())


# Reading ---------------------------------------------------------------------------------------------------


def _read_meta(file: BinaryIO) -> str:
    """The transfer syntax; the file stands at the data set then (PS3.10 7.1)."""
    if file.read(132)[128:] != b"DICM":
        raise UnreadableInstanceError("it is no DICOM file (PS3.10 7.1)")
    first = file.read(12)
    if first[:8] != b"\x02\0\0\0UL\x04\0":
        raise UnreadableInstanceError("its file meta information has no length")
    meta = read_dataset(BytesIO(file.read(int.from_bytes(first[8:], "little"))), False, True)
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if not syntax:
        raise UnreadableInstanceError("its file meta information names no TransferSyntaxUID")
    return syntax


def _inflate(file: BinaryIO, inflated: BinaryIO) -> None:
    """Raw deflate, as PS3.5 A.5 says, never to more than the limit (T68)."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while piece := file.read(_PIECE):
        while piece:
            inflated.write(inflater.decompress(piece, _PIECE))
            piece = inflater.unconsumed_tail
            if inflated.tell() > _LONGEST_INFLATED:
                raise UnreadableInstanceError("its deflated data set is longer than a gigabyte")
    if not inflater.eof:
        raise UnreadableInstanceError("its deflated data set has no end")
    inflated.seek(0)


def _is_pixels(tag: Any, _vr: str | None, _length: int) -> bool:
    return int(tag) in _PIXELS


def _find_end(body: BinaryIO, implicit: bool, little: bool) -> int:
    """Where the pixel element ends; the body stands there then."""
    start, size = body.tell(), body.seek(0, os.SEEK_END)
    body.seek(start)
    if start == size:
        return start
    order = "<" if little else ">"
    head = body.read(8)
    if len(head) < 8:
        raise UnreadableInstanceError("it ends in the middle of an element")
    if implicit:
        (length,) = struct.unpack(f"{order}L", head[4:])
    elif head[4:6] in _LONG_LENGTH:
        (length,) = struct.unpack(f"{order}L", body.read(4))
    else:
        raise UnreadableInstanceError("its pixel data is of no VR that may hold pixels")
    end = _find_delimiter(body, order, size) if length == _UNDEFINED else body.tell() + length
    if end > size:
        raise UnreadableInstanceError("it ends in the middle of its pixel data")
    return body.seek(end)


def _find_delimiter(body: BinaryIO, order: str, size: int) -> int:
    """The end of encapsulated fragments (PS3.5 A.4)."""
    while True:
        head = body.read(8)
        if len(head) < 8:
            raise UnreadableInstanceError("it ends in the middle of its pixel data")
        group, element, length = struct.unpack(f"{order}HHL", head)
        if (group, element) == (0xFFFE, 0xE0DD):
            return body.tell()
        if (group, element) != (0xFFFE, 0xE000) or body.tell() + length > size:
            raise UnreadableInstanceError("its encapsulated pixel data is broken")
        body.seek(length, os.SEEK_CUR)


class _Watched:
    """A file that remembers how its last reading ended, since the library takes an early end for the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._asked, self._got = file, 0, 0
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        piece = self._file.read(size)
        self._asked, self._got = size, len(piece)
        return piece

    @property
    def ended_early(self) -> bool:
        """Whether it ended anywhere but where the eight bytes of the next element would have begun."""
        return self._got < self._asked and (self._asked, self._got) != (8, 0)


def _read_elements(body: BinaryIO, implicit: bool, little: bool) -> Dataset:
    """Everything up to the pixels or the end."""
    watched = _Watched(body)
    dataset = read_dataset(cast("BinaryIO", watched), implicit, little, stop_when=_is_pixels)
    cut = any(
        isinstance(element, RawDataElement) and element.length not in {len(element.value or b""), _UNDEFINED}
        for element in map(dataset.get_item, list(dataset.keys()))
    )
    if cut or watched.ended_early:
        raise UnreadableInstanceError("it ends in the middle of an element")
    return dataset


# Writing ---------------------------------------------------------------------------------------------------


def _encode_meta(opened: Opened) -> bytes:
    """PS3.10 7.1, with nothing of what arrived but class, instance and transfer syntax."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = UID(str(opened.header.SOPClassUID))
    meta.MediaStorageSOPInstanceUID = UID(str(opened.header.SOPInstanceUID))
    meta.TransferSyntaxUID = UID(opened.transfer_syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    buffer = DicomIO(BytesIO())
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, meta)
    encoded = bytes(buffer.parent.getvalue())
    return b"\x02\0\0\0UL\x04\0" + struct.pack("<L", len(encoded)) + encoded


def _read_pixels(opened: Opened) -> Iterator[bytes]:
    start, end = opened.pixels
    opened.body.seek(start)
    while start < end:
        piece = opened.body.read(min(_PIECE, end - start))
        if not piece:
            raise UnreadableInstanceError("it became shorter while it was read")
        yield piece
        start += len(piece)


def _deflate(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """PS3.5 A.5: of an even length, so that it may be an element of a message."""
    deflater, length = zlib.compressobj(wbits=-zlib.MAX_WBITS), 0
    for piece in chain((deflater.compress(piece) for piece in pieces), (deflater.flush() for _ in range(1))):
        length += len(piece)
        yield piece
    yield b"\0" * (length % 2)
