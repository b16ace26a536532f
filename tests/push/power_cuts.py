"""The host's power goes off at any moment of an apply: an ext4 image on btrfs is cloned in one instant and mounted.

usage (as root, in a mount namespace of its own): python -m tests.push.power_cuts CUTS FOLDER
"""

import random
import shutil
import sys
import threading
import time
from pathlib import Path

from fleet.push.outcome import Outcome
from tests.push.local_host import LocalTransport, make_root
from tests.push.scenes import converge, list_leftovers, make_plan
from tests.push.test_interrupted import NEW, OLD, read, render
from tests.relay.power_cuts import command, make_disk, mounted


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


def cut_while_working(cuts: int, outer: Path, disk: Path, root: Path) -> list[Outcome]:
    """Old and new in turn, and a cut now and then; how each apply ended."""
    dice = random.Random(30)
    stop = threading.Event()
    done: list[Outcome] = []

    def work() -> None:
        while not stop.is_set():
            done.append(converge(render(NEW if len(done) % 2 == 0 else OLD), LocalTransport(root)).outcome)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for number in range(cuts):
            time.sleep(dice.uniform(0.05, 0.6))  # the moment of a power cut
            clone = outer / "clone"
            command("cp", "--reflink=always", disk, clone)
            with mounted(clone, outer.parent / "after") as after:
                examine(after / "host", number)
            clone.unlink()
    finally:
        stop.set()
        worker.join()
    return done


def main(cuts: int, folder: Path) -> None:
    with mounted(make_disk(folder, "host", 600, "mkfs.btrfs"), folder / "btrfs") as outer:
        disk = make_disk(outer, "disk", 64, "mkfs.ext4")
        with mounted(disk, folder / "ext4") as inner:
            (inner / "host").mkdir()
            root = make_root(inner / "host")
            (root / "lib/systemd/system/pacs.service").touch()
            assert converge(render(OLD), LocalTransport(root)).outcome is Outcome.CONVERGED
            command("sync")
            done = cut_while_working(cuts, outer, disk, root)
    assert set(done) == {Outcome.CONVERGED}
    print(f"{cuts} cuts while {len(done)} changes were made")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
