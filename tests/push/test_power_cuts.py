"""The host's power goes off at any moment of an apply: an ext4 image on btrfs is cloned in one instant and mounted."""

import os
import random
import shutil
import threading
import time
from pathlib import Path

import pytest

from fleet.push.outcome import Outcome
from tests.push.local_host import LocalTransport, make_root
from tests.push.scenes import converge, list_leftovers, make_plan
from tests.push.test_interrupted import NEW, OLD, read, render
from tests.relay.power_cuts import command, make_disk, mounted

CUTS = 200 if os.environ.get("FLEET_SOAK") == "1" else 5
NEEDED = ("mkfs.btrfs", "mkfs.ext4", "mount")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting filesystems needs root")
@pytest.mark.skipif(
    any(shutil.which(each) is None for each in NEEDED),
    reason=f"{', '.join(NEEDED)} are needed (see tests/debian-packages.txt)",
)
def test_after_a_power_cut_files_are_whole_and_the_next_run_finishes(tmp_path: Path) -> None:  # T30
    dice = random.Random(30)
    stop = threading.Event()
    done: list[Outcome] = []
    with mounted(make_disk(tmp_path, "host", 600, "mkfs.btrfs"), tmp_path / "btrfs") as outer:
        disk = make_disk(outer, "disk", 64, "mkfs.ext4")
        with mounted(disk, tmp_path / "ext4") as inner:
            (inner / "host").mkdir()
            root = make_root(inner / "host")
            (root / "lib/systemd/system/pacs.service").touch()
            assert converge(render(OLD), LocalTransport(root)).outcome is Outcome.CONVERGED
            command("sync")

            def work() -> None:
                while not stop.is_set():
                    done.append(converge(render(NEW if len(done) % 2 == 0 else OLD), LocalTransport(root)).outcome)

            worker = threading.Thread(target=work)
            worker.start()
            try:
                for number in range(CUTS):
                    time.sleep(dice.uniform(0.05, 0.6))  # the moment of a power cut
                    clone = outer / "clone"
                    command("cp", "--reflink=always", disk, clone)
                    with mounted(clone, tmp_path / "after") as after:
                        examine(after / "host", number)
                    clone.unlink()
            finally:
                stop.set()
                worker.join()
    assert set(done) == {Outcome.CONVERGED}
    assert len(done) > 1


def examine(root: Path, number: int) -> None:
    """What the cut left, and what the next run makes of it."""
    now = read(root)
    assert all(now.get(path) in {OLD.get(path), NEW.get(path)} for path in {*OLD, *NEW}), (number, now)
    shutil.rmtree(root / "run", ignore_errors=True)  # a restart empties it
    transport = LocalTransport(root)
    assert make_plan(render(NEW), transport).problems == ()
    assert converge(render(NEW), transport).outcome in {Outcome.CONVERGED, Outcome.UNCHANGED}, number
    assert read(root) == NEW, number
    assert make_plan(render(NEW), transport).is_empty, number
    assert list_leftovers(root) == [], number
