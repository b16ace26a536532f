"""Senders that remember what was acknowledged to them, and the comparison with what arrived in the end."""

import hashlib
import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fleet.relay.forward.outbound import AssociationFailed, Outbound, Parcel
from fleet.relay.receive.incoming import encode_file_meta
from fleet.relay.values import Destination, Endpoint
from tests.relay.house import CT, EXPLICIT, make_data_set
from tests.relay.sink import Script

PIXELS = 12_000


def make_noise(uid: str, pixels: int = PIXELS) -> bytes:
    """A data set whose pixels are its own and not zeros: a file that a power cut emptied looks different."""
    study = uid.rsplit(".", 1)[0]
    plain = make_data_set(uid, study, pixels)
    return plain[:-pixels] + hashlib.shake_128(uid.encode()).digest(pixels)


@dataclass
class Senders:
    """Some lanes that send one instance after the other, each once."""

    port: int
    folder: Path
    lanes: int = 3
    first: int = 0
    acknowledged: dict[str, str] = field(default_factory=dict)  # UID, SHA-256 of the data set
    stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._send, args=(lane,), daemon=True) for lane in range(self.lanes)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(30)

    def _send(self, lane: int) -> None:
        numbers = itertools.count(self.first)
        place = Destination("RELAY", "CT1", (Endpoint("127.0.0.1", self.port),), False, None, 2, 5, 1)
        path = self.folder / f"lane-{lane}"
        while not self.stop.is_set():
            try:
                with Outbound(place, ((CT, EXPLICIT),), 20) as association:
                    while not self.stop.is_set():
                        uid = f"1.2.{lane}.{next(numbers)}"  # one whose answer was lost is not sent again: it may be in
                        data_set = make_noise(uid)
                        meta = encode_file_meta(CT, uid, EXPLICIT)
                        path.write_bytes(meta + data_set)
                        size = len(meta) + len(data_set)
                        if association.store(Parcel(path, len(meta), size, None, CT, uid, EXPLICIT)) == 0:
                            self.acknowledged[uid] = hashlib.sha256(data_set).hexdigest()
                    association.release()
            except AssociationFailed:
                time.sleep(0.003)


def check_delivery(acknowledged: dict[str, str], script: Script) -> int:
    """Everything acknowledged arrived with its bytes, nothing in pieces; returns how much came twice.

    An instance may come twice where its answer was lost, and nowhere else: an answer after which the relay went on
    in that association was not lost.
    """
    arrived = Counter(uid for uid, _ in script.received)
    lost = acknowledged.keys() - arrived.keys()
    assert not lost, f"{len(lost)} acknowledged instances never arrived: {sorted(lost)[:5]}"
    for uid, digest in script.received:
        assert digest == hashlib.sha256(make_noise(uid)).hexdigest(), f"{uid} arrived in pieces"
    answered: set[str] = set()
    for uid, was_answered in script.ends():
        assert uid not in answered, f"{uid} came again although its answer had been heard"
        if was_answered:
            answered.add(uid)
    return arrived.total() - len(arrived)
