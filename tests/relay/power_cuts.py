"""Power cuts: an ext4 image on btrfs, cloned in one instant while a relay works on it, mounted and opened again.

usage (as root, in a mount namespace of its own): python -m tests.relay.power_cuts CUTS FOLDER

What ext4 had not handed to its disk by then is not in the clone, as after a power cut. A plain copy would not do: it
takes seconds, and shows a disk that never was.
"""

import hashlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.relay.spool.queue import Spool
from tests.relay.load import Senders, check_delivery, make_noise
from tests.relay.process import Relay, free_port, wait_for
from tests.relay.sink import Script, sinking
from tests.relay.test_killed import Nursery

HOST_MB, DISK_MB = 3000, 600


def command(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, timeout=60)


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir(exist_ok=True)
    command("mount", "-o", "loop", image, at)
    try:
        yield at
    finally:
        command("umount", at)


def make_disk(folder: Path, name: str, megabytes: int, program: str) -> Path:
    image = folder / name
    with image.open("wb") as file:
        file.truncate(megabytes * 1024 * 1024)
    command(program, "-q", image)
    return image


def examine(spool_folder: Path, acknowledged: dict[str, str], arrived: set[str]) -> int:
    """Open what the cut left; every acknowledged instance is there with its bytes, or had arrived. How many are."""
    spool = Spool(spool_folder)
    try:
        found = spool.reconcile(time.time())
        assert not found.missing, f"rows without a file: {found.missing}"
        queued = {}
        for task in spool.claim("ARCHIVE", 1e12, 1_000_000):
            data = task.instance.path.read_bytes()
            assert hashlib.sha256(data).hexdigest() == task.sha256, "a file is not what its row says"
            assert data[task.data_set_offset :] == make_noise(task.instance.sop_instance_uid)
            queued[task.instance.sop_instance_uid] = task
        lost = acknowledged.keys() - queued.keys() - arrived
        assert not lost, f"{len(lost)} acknowledged instances are neither queued nor arrived: {sorted(lost)[:3]}"
        return len(queued)
    finally:
        spool.close()


def cut(host: Path, senders: Senders, script: Script) -> int:
    """One power cut, and what it left."""
    before = dict(senders.acknowledged)
    clone = host / "clone"
    command("cp", "--reflink=always", host / "disk", clone)
    arrived = {uid for uid, _ in list(script.received)}
    try:
        with mounted(clone, host.parent / "after") as after:
            return examine(after / "spool", before, arrived)
    finally:
        clone.unlink()


def answer_slowly(_uid: str) -> int:
    """So that something is queued whenever the power goes."""
    time.sleep(0.02)
    return 0


def main(cuts: int, folder: Path) -> None:
    dice = random.Random(11)
    host_image = make_disk(folder, "host", HOST_MB, "mkfs.btrfs")
    with mounted(host_image, folder / "btrfs") as host:
        disk_image = make_disk(host, "disk", DISK_MB, "mkfs.ext4")
        slow = Script(status=answer_slowly)
        with mounted(disk_image, folder / "ext4") as disk, sinking(slow) as script:
            relay = Relay(folder, script.port, retention={"keep_s": 0, "max_bytes": None})
            relay.spool = disk / "spool"
            relay.port = relay.document["listen"]["port"] = free_port()
            relay.document["spool"] = str(relay.spool)
            relay.write()
            nursery = Nursery(relay)
            senders = Senders(relay.port, folder)
            left = []
            try:
                nursery.bear()
                senders.start()
                for _ in range(cuts):
                    time.sleep(dice.uniform(0.02, 0.5))
                    left.append(cut(host, senders, script))
                senders.join()
                wait_for(lambda: relay.ask("status")["states"]["queued"] == 0, 120)
            finally:
                senders.stop.set()
                nursery.end()
            check_delivery(senders.acknowledged, script)
            assert sum(left) > 0, "no cut met anything queued"
            print(f"{cuts} cuts, {len(senders.acknowledged)} acknowledged, {sum(left)} found queued")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
