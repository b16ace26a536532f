"""Killed at random moments under load: nothing that was acknowledged is lost, nothing arrives in pieces (T60)."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from tests.relay.load import Senders, check_delivery
from tests.relay.process import ROOT, Relay, free_port, wait_for
from tests.relay.sink import Script, sinking

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
    # T60
    dice = random.Random(os.environ.get("FLEET_SEED", "7"))
    with sinking(Script()) as script:
        relay = Relay(tmp_path, script.port, retention={"keep_s": 0, "max_bytes": None})
        relay.port = relay.document["listen"]["port"] = free_port()
        relay.write()
        nursery = Nursery(relay)
        senders = Senders(relay.port, tmp_path)
        senders.start()
        try:
            for _ in range(KILLS):
                nursery.bear()
                time.sleep(dice.expovariate(1 / 0.04))
                nursery.kill()
            senders.join()
            nursery.bear()
            wait_for(lambda: relay.ask("status")["states"]["queued"] == 0, 120)
            states = relay.ask("status")["states"]
            assert (states["quarantined"], states["unrouted"], states["hold"]) == (0, 0, 0)
            wait_for(lambda: not any((relay.spool / "instances").iterdir()), 30)  # delivered ones went, and only those
        finally:
            senders.stop.set()
            nursery.end()
        twice = check_delivery(senders.acknowledged, script)
        assert len(senders.acknowledged) > KILLS
        assert twice <= KILLS * 2  # an answer in each of two associations
        unknown = {row["event"] for row in relay.events()} - EXPECTED
        assert not unknown
        counts = f"{len(senders.acknowledged)} acknowledged, {len(script.received)} arrived, {twice} twice"
        sys.stderr.write(f"{KILLS} kills, {counts}\n")


EXPECTED = {
    "started", "reconciled", "association-ended", "forgotten", "destination-failed", "destination-back",
    "to-be-retried",
}  # fmt: skip
