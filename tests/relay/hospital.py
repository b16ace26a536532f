"""What destinations do to a relay that is being killed, and what has to be true of it all at the end.

Three titles of the relay stand for three ways of an instance: RELAY goes to FIRST and, when that one does not take it
in time, to its backup SECOND; CLEAN goes there and de-identified to FAR; KEEP goes there and to KEEPER, which commits
itself to what it has, mostly late and in an association of its own, and loses some first.
"""

import hashlib
import random
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from fleet.dicom.commitment import Report
from fleet.dicom.pdu import AssociateRJ
from fleet.relay.spool.queue import Spool
from tests.relay.configs import make_destination, make_route
from tests.relay.house import element
from tests.relay.load import PIXELS, STUDY, check_bytes, check_repeats, make_noise
from tests.relay.process import Relay
from tests.relay.sink import TAKEN_AND_GONE, Script, sinking
from tests.relay.test_commitments import report_to

LANES = ("RELAY", "CLEAN", "KEEP")
BURNED = 40  # every so many of CLEAN say that there is writing in their pixels
BACKUP_AFTER_S = 0.25
SCENE = 5  # kills
MOST_ON_THEIR_WAY = 150
_LOST = 30  # KEEPER loses one of so many
_PIXELS_AT = re.compile(rb"\xe0\x7f\x10\x00OW")
Status = Callable[[str], int | None]


def lane_of(uid: str) -> str:
    return LANES[int(uid.split(".")[2])]


def is_burned(uid: str) -> bool:
    return lane_of(uid) == "CLEAN" and int(uid.rsplit(".", 1)[1]) % BURNED == 7


def make_instance(uid: str) -> bytes:
    """An instance's data set; some may not be de-identified."""
    plain = make_noise(uid)
    if not is_burned(uid):
        return plain
    at = _find_pixels(plain)
    return plain[:at] + element(0x00280301, b"CS", b"YES") + plain[at:]


def _find_pixels(data_set: bytes) -> int:
    found = _PIXELS_AT.search(data_set)
    assert found is not None, "it has no pixels"
    return found.start()


def _read_text(head: bytes, tag: int, vr: bytes) -> str:
    mark = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr
    at = head.index(mark) + 6
    return head[at + 2 : at + 2 + int.from_bytes(head[at : at + 2], "little")].rstrip(b"\0 ").decode("ascii")


class Far:
    """What came de-identified: by the digest of its pixels, who it is here."""

    def __init__(self) -> None:
        self.seen: dict[str, set[tuple[str, ...]]] = {}

    def look(self, data_set: bytes) -> None:
        """Nothing of the patient is in it; remember its stand-ins."""
        at = _find_pixels(data_set)
        head = data_set[:at]
        clean = b"PLANTED" not in data_set.upper() and not re.search(rb"1\.2\.1\.[0-9]", head)
        words = [_read_text(head, tag, b"UI") for tag in (0x00080018, 0x0020000D, 0x0020000E)]
        stand_ins = (*words, _read_text(head, 0x00100010, b"PN"), "" if clean else "LEAK")
        self.seen.setdefault(hashlib.sha256(data_set[-PIXELS:]).hexdigest(), set()).add(stand_ins)

    def check(self, acknowledged: set[str], sent: int) -> None:
        """Each once, nothing of the patient, and one study is one study over all restarts."""
        numbers = (f"1.2.1.{number // STUDY}.{number}" for number in range(sent))
        origins = {hashlib.sha256(make_noise(uid)[-PIXELS:]).hexdigest(): uid for uid in numbers}
        assert not {uid for uid in acknowledged if not is_burned(uid)} - {origins[each] for each in self.seen}
        studies: dict[str, str] = {}
        for digest, found in self.seen.items():
            uid = origins[digest]
            assert len(found) == 1, f"{uid} has several stand-ins"
            [(_, study, _, _, leak)] = found
            assert not leak, f"{uid} shows its patient"
            assert not is_burned(uid), f"{uid} has writing in its pixels and was sent"
            assert studies.setdefault(uid.rsplit(".", 1)[0], study) == study, f"the study of {uid} has two stand-ins"
        alike = [stand_ins for found in self.seen.values() for stand_ins in found]
        assert len({uid for uid, *_ in alike}) == len(alike), "two instances became one"
        assert len(set(studies.values())) == len(studies), "two studies became one"
        assert len({name for *_, name, _ in alike}) == 1, "one patient has several pseudonyms"


class Keeper:
    """Answers for what it has, when it likes to, and not for what it lost."""

    def __init__(self, dice: random.Random) -> None:
        self._dice, self._late = dice, deque[tuple[float, Report]]()
        self._arrived: Counter[str] = Counter()
        self.lost: dict[str, int] = {}  # how often each had arrived when it was lost
        self.committed: set[str] = set()
        self.is_prompt = False
        self.in_own = 0

    def look(self, data_set: bytes) -> None:
        self._arrived[_read_text(data_set, 0x00080018, b"UI")] += 1

    def _has(self, uid: str) -> bool:
        """What it lost it has again when it came again."""
        if uid not in self.lost and uid not in self.committed and self._dice.randrange(_LOST) == 0:
            self.lost[uid] = self._arrived[uid]
        return uid not in self.lost or self._arrived[uid] > self.lost[uid]

    def commit(self, asked: Report) -> Report | None:
        """In the association of the question at once, or after a while, or in one of its own."""
        bad = {uid for _, uid in asked.committed if not self._has(uid)}
        good = tuple(each for each in asked.committed if each[1] not in bad)
        failed = tuple((*each, 0x0110) for each in asked.committed if each[1] in bad)
        report = Report(asked.transaction_uid, good, failed)
        self.committed.update(uid for _, uid in good)
        way = 0 if self.is_prompt else self._dice.randrange(4)
        if way == 1:
            time.sleep(self._dice.random() * 0.1)
        if way < 2:
            return report
        self._late.append((time.monotonic() + self._dice.random(), report))
        return None

    def report(self, relay: Relay, ended: threading.Event) -> None:
        """Open associations of its own until the relay has heard of all."""
        while not ended.wait(0.01):
            if not self._late or self._late[0][0] > time.monotonic():
                continue
            _, report = self._late[0]
            try:
                status = report_to(relay, report, [], "KEEPER")
            except (OSError, AssertionError):  # it was killed meanwhile
                continue
            if status in {0, 0x0115}:  # taken, or asked anew since then
                self._late.popleft()
                self.in_own += status == 0


class Hospital:
    """Four destinations, and the relay's configuration for them."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.keeper, self.far = Keeper(dice), Far()
        self.scripts = {name: Script() for name in ("FIRST", "SECOND", "FAR", "KEEPER")}
        self.scripts["FAR"].look = self.far.look
        self.scripts["KEEPER"].look = self.keeper.look
        self.scripts["KEEPER"].commit = self.keeper.commit
        self._scenes: tuple[tuple[Status, Status], ...] = (
            (well, well),
            (_silent, well),
            (_full, well),
            (well, _silent),
            (self._some(TAKEN_AND_GONE), well),
            (self._some(0x0110), self._some(None)),
            (_full, _full),
        )

    def _some(self, status: int | None) -> Status:
        return lambda _uid: status if self._dice.random() < 0.1 else 0

    def _slowly(self) -> float:
        return self._dice.random() * 0.05

    def turn(self, kill: int) -> None:
        """Another scene every few kills; now and then one rejects associations as a whole."""
        first, second = self._scenes[kill // SCENE % len(self._scenes)]
        self.scripts["FIRST"].status, self.scripts["SECOND"].status = first, second
        for name in ("FAR", "KEEPER"):
            self.scripts[name].status = self._some(TAKEN_AND_GONE)
        for script in self.scripts.values():
            script.reject = AssociateRJ(2, 3, 1) if self._dice.random() < 0.1 else None
            script.delay_s = self._slowly if self._dice.random() < 0.1 else at_once

    def recover(self) -> None:
        """Everybody takes everything."""
        for script in self.scripts.values():
            script.status, script.reject, script.delay_s = well, None, at_once
        self.keeper.is_prompt = True

    def configure(self, document: dict[str, Any]) -> None:
        document["further_titles"] = ["CLEAN", "KEEP"]
        document["destinations"] = {name: make_destination(name, each.port) for name, each in self.scripts.items()}
        document["destinations"]["KEEPER"]["commitment"] = True
        titles = ("FIRST", "SECOND")
        primary = [{"ae_title": each, "during": None, "backup_after_s": BACKUP_AFTER_S} for each in titles]
        profile = {"profile": "basic", "options": [], "pseudonyms": ["PatientName"]}
        document["routes"] = [
            make_route("plain", primary=primary),
            make_route("clean", "FAR", when={"called": ["CLEAN"]}, deidentify=profile),
            make_route("kept", "KEEPER", when={"called": ["KEEP"]}),
        ]

    def is_behind(self, acknowledged: int) -> bool:
        """Whether more is on its way than there should be, so that a long soak does not end with a long queue."""
        arrived = sum(len(self.scripts[name].received) for name in ("FIRST", "SECOND"))
        return acknowledged - arrived > MOST_ON_THEIR_WAY

    def check(self, acknowledged: set[str], sent: int) -> Counter[str]:
        """Everything acknowledged arrived by each of its routes; returns how much came twice, by destination."""
        arrived = {name: {uid for uid, _ in script.received} for name, script in self.scripts.items()}
        lost = acknowledged - arrived["FIRST"] - arrived["SECOND"]
        assert not lost, f"{len(lost)} acknowledged instances never arrived: {sorted(lost)[:5]}"
        kept = {uid for uid in acknowledged if lane_of(uid) == "KEEP"}
        assert not kept - arrived["KEEPER"]
        assert not kept - self.keeper.committed, "forgotten before anybody answered for it"
        self.far.check({uid for uid in acknowledged if lane_of(uid) == "CLEAN"}, sent)
        for name in ("FIRST", "SECOND", "KEEPER"):
            check_bytes(self.scripts[name], make_instance)
        excused = {"KEEPER": self.keeper.lost}
        return Counter({name: check_repeats(each, excused.get(name, ())) for name, each in self.scripts.items()})


def check_quarantine(spool: Spool, acknowledged: set[str]) -> int:
    """What may not be de-identified lies there, by that route alone, and nothing else does; returns how much."""
    rows = spool.read(
        "SELECT i.sop_instance_uid, t.route FROM tasks t JOIN instances i ON i.id = t.instance"
        " WHERE t.state NOT IN ('delivered', 'skipped')"
    )
    states = {state for (state,) in spool.read("SELECT DISTINCT state FROM tasks")}
    assert states <= {"delivered", "skipped", "quarantined"}, states
    assert len(set(rows)) == len(rows)
    assert all(is_burned(uid) and route == "clean" for uid, route in rows), rows[:5]
    assert {uid for uid in acknowledged if is_burned(uid)} <= {uid for uid, _ in rows}
    return len(rows)


def well(_uid: str) -> int:
    return 0


def at_once() -> float:
    return 0.0


def _silent(_uid: str) -> int:
    return -1


def _full(_uid: str) -> int:
    return 0xA700


@contextmanager
def open_hospital(seed: str) -> Iterator[Hospital]:
    """Its destinations listen until the block ends."""
    hospital = Hospital(random.Random(seed))
    with ExitStack() as stack:
        for script in hospital.scripts.values():
            stack.enter_context(sinking(script))
        yield hospital
