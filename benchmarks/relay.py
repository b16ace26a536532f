"""The relay beside dcmtk's storescp and beside a plain loop that writes and syncs, with 512 KB CT slices on loopback.

usage: python -m benchmarks.relay      (about two minutes; `benchmarks.run` does it too)

All receivers get the same bytes from the same sender, one after the other in one run; what counts is the ratios.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure
from fleet.relay.forward.outbound import Outbound, Parcel
from fleet.relay.operate.control import ask
from fleet.relay.receive.incoming import encode_file_meta
from fleet.relay.spool.queue import Spool
from fleet.relay.spool.records import Stored
from fleet.relay.values import Decision, Destination, Endpoint, ReceivedInstance, StudyFacts

ROOT: Final = Path(__file__).parents[1]
CT: Final = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
PIXELS: Final = 512 * 1024
QUEUED: Final = 100_000
SLICES: Final = 100
RECEIVING_S: Final = 4.0
BOTH_S: Final = 60.0


def make_data_set(uid: str, study: str, pixels: int) -> bytes:
    """A slice whose pixels do not compress and differ from one to the next."""

    def text(group: int, element: int, vr: str, value: str) -> bytes:
        data = value.encode() + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        return (
            group.to_bytes(2, "little")
            + element.to_bytes(2, "little")
            + vr.encode()
            + len(data).to_bytes(2, "little")
            + data
        )

    head = text(8, 0x16, "UI", CT) + text(8, 0x18, "UI", uid) + text(8, 0x60, "CS", "CT") + text(0x10, 0x20, "LO", "P1")
    head += text(0x20, 0xD, "UI", study) + text(0x20, 0xE, "UI", f"{study}.1")
    return head + b"\xe0\x7f\x10\x00OW\0\0" + pixels.to_bytes(4, "little") + os.urandom(pixels)


def send(port: int, lane: int, seconds: float) -> int:
    """Send as many as there is time for, through one association; returns how many were acknowledged."""
    place = Destination("RELAY", "CT1", (Endpoint("127.0.0.1", port),), False, None, 5, 5, 1)
    data_set = bytearray(make_data_set(f"1.2.{lane}.1000000", f"1.2.{lane}", PIXELS))
    first = bytes(data_set).index(b"1000000")
    done = 0
    with tempfile.NamedTemporaryFile() as file, Outbound(place, ((CT, EXPLICIT),)) as association:
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            uid = f"1.2.{lane}.{1000000 + done}"
            data_set[first : first + 7] = str(1000000 + done).encode()
            meta = encode_file_meta(CT, uid, EXPLICIT)
            file.seek(0)
            file.write(meta + data_set)
            file.flush()
            size = len(meta) + len(data_set)
            if association.store(Parcel(Path(file.name), len(meta), size, None, CT, uid, EXPLICIT)) != 0:
                raise SystemExit("an instance was not acknowledged")
            done += 1
        association.release()
    return done


def measure_senders(port: int, lanes: int, seconds: float) -> float:
    """Acknowledged instances a second, from so many senders at once."""
    command = [sys.executable, "-m", "benchmarks.relay", "--send", str(port)]
    started = [
        subprocess.Popen([*command, str(lane), str(seconds)], cwd=ROOT, stdout=subprocess.PIPE) for lane in range(lanes)
    ]
    return sum(float(each.communicate()[0]) for each in started) / seconds


def measure_storescu(port: int, folder: Path) -> float:
    """Instances a second that dcmtk's storescu gets acknowledged, as one starts it."""
    command = ["storescu", "-q", "-aet", "CT1", "-aec", "RELAY", "+sd", "127.0.0.1", str(port), str(folder)]
    started = time.monotonic()
    subprocess.run(command, check=True, timeout=120)
    return sum(1 for _ in folder.iterdir()) / (time.monotonic() - started)


def write_slices(folder: Path, count: int) -> None:
    """Files for storescu."""
    for number in range(count):
        uid = f"1.2.9.{number}"
        (folder / f"{number}").write_bytes(encode_file_meta(CT, uid, EXPLICIT) + make_data_set(uid, "1.2.9", PIXELS))


def measure_loop(folder: Path, seconds: float) -> float:
    """Files of the same size written and synced, one after the other."""
    data = os.urandom(PIXELS)
    done, ends_at = 0, time.monotonic() + seconds
    while time.monotonic() < ends_at:
        with (folder / f"{done}").open("wb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())
        done += 1
    return done / seconds


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def wait_for_port(port: int) -> None:
    """Until somebody listens."""
    ends_at = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.02)
        else:
            return


@contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """dcmtk's own, as one starts it."""
    port = free_port()
    process = subprocess.Popen(["storescp", "-q", "-pdu", "131072", "-od", str(folder), str(port)])
    try:
        wait_for_port(port)
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def relay(folder: Path, to: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Ours, sending on to a port."""
    port = free_port()
    target = {"ae_title": "SINK", "during": None, "backup_after_s": None}
    route: dict[str, object] = {
        "name": "all",
        "when": {},
        "otherwise": None,
        "require": {},
        "deidentify": None,
        "edit": [],
    }
    place = {"ae_title": "SINK", "calling": "RELAY", "addresses": [{"address": "127.0.0.1", "port": to}]}
    rest: dict[str, object] = {
        "external": False,
        "tls": None,
        "timeouts_s": {"connect": 1, "acse": 5},
        "max_associations": 4,
        "rates": [],
        "commitment": False,
    }
    callers = [
        {"ae_title": title, "addresses": ["127.0.0.1"], "services": ["storage"], "role": "entity"}
        for title in ("CT1", "RELAY")  # the second one, when a relay is the destination of another
    ]
    document = {
        "schema": "fleet.relay/1", "ae_title": "RELAY", "further_titles": ["SINK"], "spool": str(folder / "spool"),
        "listen": {"address": "127.0.0.1", "port": port}, "receive": {"tls": None},
        "max_pdu_bytes": 131072, "max_associations": 64, "drain_timeout_s": 1,
        "retention": {"keep_s": 10, "max_bytes": None}, "callers": callers, "match": "all",
        "routes": [{**route, "primary": [target], "optional": []}], "destinations": {"SINK": {**place, **rest}},
    }  # fmt: skip
    (folder / "relay.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "fleet.relay", "run", str(folder / "relay.json")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port, process
    finally:
        process.kill()
        process.wait()


def resident_mb(process: subprocess.Popen[bytes]) -> float:
    """What /proc says it holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


def fill(folder: Path, count: int) -> None:
    """A spool with so many queued instances of a few bytes each."""
    spool = Spool(folder / "spool")

    def stored(number: int) -> Stored:
        name = f"{number:024x}"
        spool.path(name).write_bytes(b"x")
        uid = f"1.2.{number // 200}.{number}"
        path = spool.path(name)
        instance = ReceivedInstance(name, path, "CT1", "RELAY", CT, uid, f"1.2.{number // 200}", "CT", EXPLICIT, 1.0)
        return Stored(instance, 1, 0, f"{number:064x}")

    def decide(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return (Decision("all", "send", "SINK"),)

    for first in range(0, count, 1000):
        spool.add([stored(number) for number in range(first, first + 1000)], decide)
    spool.close()


def measure_relay(_folder: Path) -> Iterator[Figure]:
    """All of it, on the disk that this checkout lies on: a temporary folder may be memory, and a sync free."""
    base = Path(tempfile.mkdtemp(prefix=".relay-", dir=ROOT))
    try:
        yield from _measure_receiving(base)
        yield from _measure_both(base)
        yield from _measure_queued(base / "queued")
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _measure_receiving(base: Path) -> Iterator[Figure]:
    slices, folder = base / "slices", base / "received"
    slices.mkdir()
    write_slices(slices, SLICES)
    with emptied(folder):
        loop = measure_loop(folder, RECEIVING_S)
    with emptied(folder), storescp(folder) as port:
        stock = measure_storescu(port, slices)
    with emptied(folder), relay(folder, 1) as (port, _):
        ours = measure_storescu(port, slices)
    yield Figure("relay: storescu to it, to storescu to storescp, instances/s", ours / stock, 5, "×", at_least=True)
    for lanes in (1, 4):
        with emptied(folder), relay(folder, 1) as (port, _):
            rate = measure_senders(port, lanes, RECEIVING_S)
        what = f"relay: received and durable from {lanes} sender{'s' * (lanes > 1)}, to a loop that writes and syncs"
        yield Figure(what, rate / loop, 0.3, "×", at_least=True)


def _measure_both(base: Path) -> Iterator[Figure]:
    """Another relay is the destination, which answers when it has synced: a slow archive, as archives go."""
    sink_folder, folder = base / "sink", base / "both"
    with emptied(sink_folder), emptied(folder), relay(sink_folder, 1) as (sink, _), relay(folder, sink) as (port, _):
        senders = threading.Thread(target=measure_senders, args=(port, 2, BOTH_S))
        senders.start()
        time.sleep(BOTH_S / 3)
        early = _count(folder)
        time.sleep(2 * BOTH_S / 3)
        late = _count(folder)
        senders.join()
    received, delivered = late[0] - early[0], late[1] - early[1]
    what = f"relay: forwarded to received while both go on, over {2 * BOTH_S / 3:.0f} s of {BOTH_S:.0f}"
    yield Figure(what, delivered / received, 0.95, "×", at_least=True)
    yield Figure("relay: queued at the end of that, of all received", (late[0] - late[1]) / late[0], 0.05, "×")


def _count(folder: Path) -> tuple[int, int]:
    counts = ask(folder / "spool", {"verb": "status"})["counts"]
    return counts.get("stored", 0), counts.get("delivered", 0)


def _measure_queued(folder: Path) -> Iterator[Figure]:
    with emptied(folder):
        fill(folder, QUEUED)
        started = time.monotonic()
        with relay(folder, 1) as (_, process):
            yield Figure(f"relay: start with {QUEUED:,} queued", time.monotonic() - started, 5, "s")
            time.sleep(3)
            ask(folder / "spool", {"verb": "status"})
            yield Figure("relay: resident memory then", resident_mb(process), 200, "MB")


@contextmanager
def emptied(folder: Path) -> Iterator[None]:
    """A folder that is there for a while."""
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        print(send(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
        sys.exit(0)
    for figure in measure_relay(ROOT):
        print(figure, flush=True)
