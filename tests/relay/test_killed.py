"""Killed at random moments under load: nothing that was acknowledged is lost, nothing arrives in pieces (T60)."""

import hashlib
import os
import random
import threading
import time
from pathlib import Path

from fleet.relay.outbound import AssociationFailed
from tests.relay.house import make_data_set
from tests.relay.process import Relay, wait_for
from tests.relay.sink import Script, sinking
from tests.relay.test_receive import parcel

KILLS = 1000 if os.environ.get("FLEET_SOAK") else 6


def send_until(relay: Relay, folder: Path, acknowledged: set[str], stop: threading.Event, lane: int) -> None:
    number = 0
    while not stop.is_set():
        try:
            with relay.connect() as association:
                while not stop.is_set():
                    uid = f"1.2.{lane}.{number}"
                    sent = parcel(folder, make_data_set(uid, f"1.2.{lane}", pixels=30_000), uid)
                    if association.store(sent) == 0:
                        acknowledged.add(uid)
                    sent.path.unlink()
                    number += 1
        except AssociationFailed:
            number += 1  # whether it was stored is not known: another one next, so that only acknowledged ones count
            time.sleep(0.02)


def test_nothing_acknowledged_is_lost_however_often_it_is_killed(tmp_path: Path) -> None:
    dice = random.Random(7)
    acknowledged: set[str] = set()
    stop = threading.Event()
    with sinking(Script()) as script:
        relay = Relay(tmp_path, script.port)
        relay.start()
        lanes = [
            threading.Thread(target=send_until, args=(relay, tmp_path, acknowledged, stop, lane)) for lane in range(3)
        ]
        for lane in lanes:
            lane.start()
        try:
            for _ in range(KILLS):
                time.sleep(dice.uniform(0.05, 0.6))
                relay.kill()
                relay.start()
        finally:
            stop.set()
            for lane in lanes:
                lane.join(20)
        try:
            wait_for(lambda: relay.ask("status")["states"]["queued"] == 0, 60)
            assert len(acknowledged) > KILLS
            assert acknowledged <= set(script.uids())
            for uid, digest in script.received:
                study = uid.rsplit(".", 1)[0]
                assert digest == hashlib.sha256(make_data_set(uid, study, pixels=30_000)).hexdigest()
            states = relay.ask("status")["states"]
            assert (states["quarantined"], states["unrouted"]) == (0, 0)
        finally:
            relay.kill()
