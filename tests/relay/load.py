"""Senders that remember what was acknowledged to them, and the comparison with what arrived in the end."""

import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from fleet.relay.forward.outbound import AssociationFailed, Outbound, Parcel
from fleet.relay.receive.incoming import encode_file_meta
from fleet.relay.values import Destination, Endpoint
from tests.relay.house import CT, EXPLICIT, make_data_set
from tests.relay.sink import Script

PIXELS = 12_000
STUDY = 12  # instances


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
    lanes: tuple[str, ...] = ("RELAY", "RELAY", "RELAY")  # the title that each one calls
    first: int = 0
    make: Callable[[str], bytes] = make_noise
    is_held: Callable[[int], bool] = lambda _sent: False  # whether a lane that had so many acknowledged has to wait
    acknowledged: dict[str, str] = field(default_factory=dict)  # UID, SHA-256 of the data set
    stop: threading.Event = field(default_factory=threading.Event)
    sent: int = 0  # numbers below it were used

    def start(self) -> None:
        self._threads = [
            threading.Thread(target=self._send, args=(lane,), daemon=True) for lane in range(len(self.lanes))
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(30)

    def _send(self, lane: int) -> None:
        numbers = itertools.count(self.first)
        place = Destination(self.lanes[lane], "CT1", (Endpoint("127.0.0.1", self.port),), False, None, 2, 5, 1)
        path = self.folder / f"lane-{lane}"
        while not self.stop.is_set():
            try:
                with Outbound(place, ((CT, EXPLICIT),), 20) as association:
                    while not self.stop.is_set():
                        if self.is_held(len(self.acknowledged)):
                            time.sleep(0.01)
                            continue
                        number = next(numbers)  # one whose answer was lost is not sent again: it may be in
                        self.sent = max(self.sent, number + 1)
                        uid = f"1.2.{lane}.{number // STUDY}.{number}"
                        data_set = self.make(uid)
                        meta = encode_file_meta(CT, uid, EXPLICIT)
                        path.write_bytes(meta + data_set)
                        size = len(meta) + len(data_set)
                        if association.store(Parcel(path, len(meta), size, None, CT, uid, EXPLICIT)) == 0:
                            self.acknowledged[uid] = hashlib.sha256(data_set).hexdigest()
                    association.release()
            except AssociationFailed:
                time.sleep(0.003)


def check_delivery(acknowledged: dict[str, str], script: Script) -> int:
    """Everything acknowledged arrived with its bytes, nothing in pieces; returns how much came twice."""
    arrived = {uid for uid, _ in script.received}
    lost = acknowledged.keys() - arrived
    assert not lost, f"{len(lost)} acknowledged instances never arrived: {sorted(lost)[:5]}"
    check_bytes(script)
    return check_repeats(script)


def check_bytes(script: Script, make: Callable[[str], bytes] = make_noise) -> None:
    """Whatever arrived is what was made."""
    for uid, digest in script.received:
        assert digest == hashlib.sha256(make(uid)).hexdigest(), f"{uid} arrived in pieces"


def check_repeats(script: Script, excused: Collection[str] = ()) -> int:
    """An instance comes again where its answer was lost, and nowhere else; returns how much did.

    An answer after which the relay went on in that association was not lost.
    """
    answered: set[str] = set()
    for uid, was_answered in script.ends():
        assert uid in excused or uid not in answered, f"{uid} came again although its answer had been heard"
        if was_answered:
            answered.add(uid)
    arrived = Counter(uid for uid, _ in script.received)
    return arrived.total() - len(arrived)
