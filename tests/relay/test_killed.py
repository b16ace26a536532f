"""Killed at random moments under load: nothing that was acknowledged is lost, nothing arrives in pieces (T60)."""

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.relay.spool.queue import Spool
from tests.relay.hospital import LANES, check_quarantine, make_instance, open_hospital
from tests.relay.load import Senders
from tests.relay.process import ROOT, Relay, free_port, wait_for

KILLS = int(os.environ.get("FLEET_KILLS", "10000" if os.environ.get("FLEET_SOAK") else "50"))


class Nursery:
    """Relays that live for milliseconds, on one spool."""

    def __init__(self, relay: Relay) -> None:
        words = [sys.executable, "-m", "tests.relay.nursery", str(relay.config), str(relay.log)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        self.child = 0

    def bear(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"next\n")
        self.process.stdin.flush()
        told = self.process.stdout.readline()
        assert told.strip().isdigit(), told
        self.child = int(told)

    def kill(self) -> None:
        os.kill(self.child, 9)

    def end(self) -> None:
        if self.child:
            self.kill()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_nothing_acknowledged_is_lost_however_often_it_is_killed(tmp_path: Path) -> None:
    # T60, T62, T63, T74
    seed = os.environ.get("FLEET_SEED", "7")
    dice = random.Random(seed)
    with open_hospital(seed) as hospital, ending() as ended:
        relay = Relay(tmp_path, 0, retention={"keep_s": 0, "max_bytes": None})
        hospital.configure(relay.document)
        relay.port = relay.document["listen"]["port"] = free_port()
        relay.write()
        nursery = Nursery(relay)
        senders = Senders(relay.port, tmp_path, LANES, make=make_instance, is_held=hospital.is_behind)
        senders.start()
        reporter = threading.Thread(target=hospital.keeper.report, args=(relay, ended), daemon=True)
        reporter.start()
        try:
            for kill in range(KILLS):
                hospital.turn(kill)
                nursery.bear()
                time.sleep(dice.expovariate(1 / 0.04))
                nursery.kill()
            senders.join()
            hospital.recover()
            nursery.bear()
            wait_for(lambda: is_done(relay), 120)
            left = relay.ask("status")["states"]["quarantined"]
            wait_for(lambda: len(list((relay.spool / "instances").iterdir())) == left, 30)  # and only those are kept
        finally:
            senders.stop.set()
            nursery.end()
        acknowledged = set(senders.acknowledged)
        twice = hospital.check(acknowledged, senders.sent)
        spool = Spool(relay.spool)
        kept = check_quarantine(spool, acknowledged)
        spool.close()
        assert kept == left
        assert len(acknowledged) > KILLS
        events = Counter(row["event"] for row in relay.events())
        assert not events.keys() - EXPECTED
        assert all(events[each] for each in WANTED), "the scenes did not do what they are for"
        counts = (
            f"{len(acknowledged)} acknowledged, twice {dict(twice)}, {kept} in quarantine, {events['backup']} moved"
        )
        late = f"{hospital.keeper.in_own} reports in associations of their own, {len(hospital.keeper.lost)} lost"
        sys.stderr.write(f"{KILLS} kills, {counts}, {late}\n")


@contextmanager
def ending() -> Iterator[threading.Event]:
    """An event that is set when the block ends."""
    ended = threading.Event()
    try:
        yield ended
    finally:
        ended.set()


def is_done(relay: Relay) -> bool:
    """Whether nothing is left but the quarantine; what pauses is hurried."""
    states = relay.ask("status")["states"]
    if sum(states.values()) == states["quarantined"]:
        return True
    relay.ask("retry")
    time.sleep(0.2)
    return False


WANTED = {"backup", "quarantined", "commitment"}
EXPECTED = WANTED | {
    "started", "reconciled", "association-ended", "forgotten", "destination-failed", "destination-back",
    "to-be-retried", "commitment-failed", "operator",
}  # fmt: skip
