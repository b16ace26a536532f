"""Encapsulated pixel data (PS3.5 A.4) as one run of bytes, wherever its fragments lie in the file.

What is no pixel is blanked where it stands, not cut out: no length changes, so offset tables, tile-part lengths and
JPEG 2000 indexes stay right, and the bytes that a decoder reads are those that came. Only a few kilobytes are held.
"""

import struct
from array import array
from bisect import bisect_right
from itertools import pairwise
from typing import BinaryIO, Final

from fleet.relay.transform.elements import CannotDeidentifyError

_MOST_FRAGMENTS: Final = 1 << 20
_WINDOW: Final = 1 << 16


class Fragments:
    """All fragments as one stream, with the ranges of the file that are to be blanked."""

    def __init__(self, body: BinaryIO, at: int) -> None:
        """`at` is the item of the Basic Offset Table."""
        self._body = body
        self._from, self._ends = array("Q"), array("Q")
        self.blanks = array("Q")  # from, to, from, to ... in the file
        self.table = self._read_item(at) or (at, 0)
        self.first = at = sum(self.table)
        while (item := self._read_item(at)) is not None:
            if len(self._from) >= _MOST_FRAGMENTS:
                raise CannotDeidentifyError(f"PixelData has more than {_MOST_FRAGMENTS} fragments")
            self._from.append(item[0])
            self._ends.append(self.length + item[1])
            at = sum(item)
        self.end = at  # of the last fragment, where the delimiter stands
        self._window, self._window_at = b"", 0

    @property
    def length(self) -> int:
        return self._ends[-1] if self._ends else 0

    def bounds(self) -> list[tuple[int, int]]:
        """From where to where in the stream each fragment is."""
        return list(zip([0, *self._ends[:-1]], self._ends, strict=True))

    def find_end(self, at: int) -> int:
        """The end of the fragment that holds a byte."""
        return self._ends[bisect_right(self._ends, at)]

    def read(self, at: int, size: int) -> bytes:
        """Up to so many bytes, less at the end only."""
        start = at - self._window_at
        if not (start >= 0 and start + size <= len(self._window)):
            self._window, self._window_at, start = self._load(at, max(size, _WINDOW)), at, 0
        return self._window[start : start + size]

    def read_number(self, at: int, size: int) -> int:
        """A number of a marker segment. Raises `CannotDeidentifyError` behind the end."""
        piece = self.read(at, size)
        if len(piece) < size:
            raise CannotDeidentifyError("PixelData ends inside a frame")
        return int.from_bytes(piece, "big")

    def blank(self, start: int, stop: int) -> None:
        """Zeros, in what is written, from one place to another; blanks come in their order."""
        while start < stop:
            number = bisect_right(self._ends, start)
            end = min(stop, self._ends[number])
            place = self._place(number, start)
            self.blanks.extend((place, place + end - start))
            start = end

    def has_true_table(self) -> bool:
        """Whether the Basic Offset Table is empty or holds offsets of fragments and nothing else (PS3.5 A.4)."""
        start, length = self.table
        self._body.seek(start)
        return length % 4 == 0 and self.are_offsets(array_of(self._body.read(length), "L", 4))

    def are_offsets(self, offsets: tuple[int, ...]) -> bool:
        """Whether these are places of fragments, in their order, the first one first."""
        places = {start - 8 - self.first for start in self._from}
        ascending = all(one < other for one, other in pairwise(offsets))
        return not offsets or (offsets[0] == 0 and ascending and places.issuperset(offsets))

    def are_lengths(self, lengths: tuple[int, ...]) -> bool:
        """Whether these are lengths of the fragments, with or without their padding."""
        bounds = self.bounds()
        return len(lengths) == len(bounds) and all(
            end - start - length in {0, 1} for (start, end), length in zip(bounds, lengths, strict=True)
        )

    def _place(self, number: int, at: int) -> int:
        return self._from[number] + at - (self._ends[number - 1] if number else 0)

    def _load(self, at: int, size: int) -> bytes:
        pieces = []
        while size and at < self.length:
            number = bisect_right(self._ends, at)
            self._body.seek(self._place(number, at))
            piece = self._body.read(min(size, self._ends[number] - at))
            if not piece:
                break
            pieces.append(piece)
            at, size = at + len(piece), size - len(piece)
        return b"".join(pieces)

    def _read_item(self, at: int) -> tuple[int, int] | None:
        """Where the bytes of an item begin and how many they are; None at the delimiter."""
        self._body.seek(at)
        group, element, length = struct.unpack("<HHL", self._body.read(8))
        return (at + 8, length) if (group, element) == (0xFFFE, 0xE000) else None


def array_of(value: bytes, kind: str, size: int) -> tuple[int, ...]:
    """Little-endian numbers, as both offset tables hold them."""
    return struct.unpack(f"<{len(value) // size}{kind}", value[: len(value) // size * size])
