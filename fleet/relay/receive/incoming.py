"""One instance on its way to the disk: the file that it becomes, as its fragments come.

The data set's bytes are written as they came. In front of them stand our own preamble of zeros (T79: a peer's could
begin an executable) and a file meta group (PS3.10 7.1) made from the command and the presentation context.
"""

import errno
import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.relay.implementation import IMPLEMENTATION_NAME, IMPLEMENTATION_UID
from fleet.relay.receive.admission import Context
from fleet.relay.store_command import OUT_OF_RESOURCES, CommandSet

PREAMBLE_BYTES: Final = 128


def _element(group_element: tuple[int, int], vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr in {b"UI", b"OB"} else b" ") * (len(value) % 2)
    if vr == b"OB":
        return struct.pack("<HH2sxxI", *group_element, vr, len(value)) + value
    return struct.pack("<HH2sH", *group_element, vr, len(value)) + value


def encode_file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble, prefix and group 0002 in Explicit VR Little Endian (PS3.10 table 7.1-1)."""
    elements = b"".join(
        (
            _element((2, 0x0001), b"OB", b"\0\1"),
            _element((2, 0x0002), b"UI", sop_class_uid.encode("ascii")),
            _element((2, 0x0003), b"UI", sop_instance_uid.encode("ascii")),
            _element((2, 0x0010), b"UI", transfer_syntax_uid.encode("ascii")),
            _element((2, 0x0012), b"UI", IMPLEMENTATION_UID.encode("ascii")),
            _element((2, 0x0013), b"SH", IMPLEMENTATION_NAME.encode("ascii")),
        )
    )
    return bytes(PREAMBLE_BYTES) + b"DICM" + _element((2, 0), b"UL", struct.pack("<I", len(elements))) + elements


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an instance is not taken: a status of PS3.4 table B.2-1, and words for the sender's log."""

    status: int
    comment: str


def refuse_for(error: OSError) -> Refusal:
    """A disk that fails is a lack of resources: the sender may come again later (T61)."""
    return Refusal(OUT_OF_RESOURCES, f"spool: {errno.errorcode.get(error.errno or 0, 'error')}")


class Incoming:
    """Writes one instance; after a failure the rest of its data set is read and thrown away, so as to answer."""

    __slots__ = (
        "_descriptor",
        "_hash",
        "context",
        "data_set_offset",
        "path",
        "refusal",
        "request",
        "size_bytes",
        "spool_id",
    )

    def __init__(self, request: CommandSet, context: Context, spool_id: str, path: Path) -> None:
        self.request, self.context, self.spool_id, self.path = request, context, spool_id, path
        self.refusal: Refusal | None = None
        self.size_bytes = self.data_set_offset = 0
        self._hash = hashlib.sha256()
        self._descriptor = -1

    def begin(self) -> None:
        """Make the file; a failure is kept in `refusal`."""
        meta = encode_file_meta(self.request.sop_class_uid, self.request.sop_instance_uid, self.context.transfer_syntax)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            self.refusal = refuse_for(error)
            return
        self.write(memoryview(meta))
        self.data_set_offset = len(meta)

    def refuse(self, refusal: Refusal) -> None:
        """Take no more of it."""
        self.refusal = self.refusal or refusal
        self.discard()

    def write(self, data: memoryview) -> None:
        """Put a fragment behind the others."""
        if self.refusal is not None:
            return
        try:
            done = os.write(self._descriptor, data)
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        except OSError as error:
            self.refuse(refuse_for(error))
            return
        self._hash.update(data)
        self.size_bytes += len(data)

    def sync(self) -> None:
        """Bring the file to the disk and close it; raises OSError. What failed once is never tried again (T61)."""
        descriptor, self._descriptor = self._descriptor, -1
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @property
    def sha256(self) -> str:
        """Of the whole file."""
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Remove what was written; a file that cannot be removed is found on the next start."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            return
