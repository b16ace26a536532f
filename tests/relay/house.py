"""A relay's receiving side in this process, and instances to send to it."""

import io
import json
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.relay.config import parse_config
from fleet.relay.receive.admission import make_door
from fleet.relay.receive.committer import Committer
from fleet.relay.receive.incoming import encode_file_meta
from fleet.relay.receive.loop import Receiver
from fleet.relay.spool.queue import Spool
from fleet.relay.telling import Teller
from fleet.relay.values import Config, Decision, ReceivedInstance, StudyFacts
from tests.relay.configs import make_document

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
KEY = bytes(32)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element in Explicit VR Little Endian."""
    value += (b"\0" if vr in {b"UI", b"OW"} else b" ") * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in {b"OW", b"SQ", b"UN", b"OB"}:
        return head + struct.pack("<xxI", len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def make_data_set(uid: str = "1.2.3.4", study: str = "1.2.3", pixels: int = 2048, **changes: bytes) -> bytes:
    """A CT slice's data set; names are planted, so that tests can look for them where they must not be."""
    values = {"name": b"PLANTED^NAME", "modality": b"CT", "sop_class": CT.encode(), **changes}
    return b"".join(
        (
            element(0x00080016, b"UI", values["sop_class"]),
            element(0x00080018, b"UI", uid.encode()),
            element(0x00080060, b"CS", values["modality"]),
            element(0x00100010, b"PN", values["name"]),
            element(0x0020000D, b"UI", study.encode()),
            element(0x0020000E, b"UI", (study + ".1").encode()),
            element(0x00280010, b"US", struct.pack("<H", 512)),
            element(0x00280011, b"US", struct.pack("<H", 512)),
            element(0x00280100, b"US", struct.pack("<H", 16)),
            element(0x7FE00010, b"OW", bytes(pixels)),
        )
    )


def make_file(folder: Path, uid: str, study: str = "1.2.3", pixels: int = 2048) -> Path:
    """A Part 10 file for dcmtk's senders."""
    path = folder / f"{uid}.dcm"
    path.write_bytes(encode_file_meta(CT, uid, EXPLICIT) + make_data_set(uid, study, pixels))
    return path


@dataclass(frozen=True, slots=True)
class PlainRules:
    """Everything goes to ARCHIVE."""

    wanted: Mapping[str, int] = field(default_factory=dict)

    def decide(self, instance: ReceivedInstance, study: StudyFacts, /) -> Sequence[Decision]:
        return (Decision("all", "send", "ARCHIVE"),)


@dataclass(slots=True)
class House:
    """What a test sees of a receiving relay."""

    port: int
    spool: Spool
    receiver: Receiver
    told: io.StringIO

    def uids(self) -> list[str]:
        return sorted(row[0] for row in self.spool.read("SELECT sop_instance_uid FROM instances"))

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.told.getvalue().splitlines()]


def make_config(spool: Path, **changes: Any) -> Config:
    return parse_config(json.dumps(make_document(spool, **changes)).encode(), "relay.json")


@contextmanager
def receiving(folder: Path, secure: ssl.SSLContext | None = None, **changes: Any) -> Iterator[House]:
    """Receive on a free port of 127.0.0.1 until the block ends."""
    config = make_config(folder, **changes)
    spool = Spool(config.spool)
    told = io.StringIO()
    tell = Teller(lambda line: _write(told, line), KEY, lambda: 0.0)
    committer = Committer(spool, PlainRules, tell)
    names = {address for caller in config.callers for address in caller.addresses}
    door = make_door(config, {name: frozenset({name}) for name in names})
    receiver = Receiver(spool, committer, door, tell, config.max_associations)
    receiver.secure = secure
    port = receiver.listen("127.0.0.1", 0, secure is not None)
    committer.start()
    thread = threading.Thread(target=receiver.serve)
    thread.start()
    try:
        yield House(port, spool, receiver, told)
    finally:
        receiver.stop(0)
        thread.join(10)
        committer.stop()
        receiver.close()
        spool.close()


def _write(told: io.StringIO, line: str) -> None:
    told.write(line + "\n")
