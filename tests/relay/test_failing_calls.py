"""Each system call that touches the spool fails once in each thread, with each error a disk has (T61).

strace attaches to a relay that runs, since a start alone makes thousands of such calls.
"""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.relay.forward.outbound import AssociationFailed, Outbound, Parcel
from fleet.relay.receive.incoming import encode_file_meta
from fleet.relay.values import Destination, Endpoint
from tests.relay.house import CT, EXPLICIT
from tests.relay.load import check_delivery, make_noise
from tests.relay.process import Relay, free_port, wait_for
from tests.relay.sink import Script, sinking
from tests.relay.test_killed import Nursery

CALLS = ("openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "ftruncate")
ERRORS = ("EIO", "ENOSPC", "EROFS", "EDQUOT")
IS_SOAK = bool(os.environ.get("FLEET_SOAK"))
SAMPLE = [(call, error, when) for call in CALLS for error in ERRORS for when in (1, 2, 3)]
CASES = SAMPLE if IS_SOAK else [(call, ERRORS[index % 4], 1) for index, call in enumerate(CALLS)]
INSTANCES = 12


@contextmanager
def failing(process_id: int, call: str, error: str, when: int, log: Path) -> Iterator[None]:
    """In each thread of a process the nth such call fails."""
    words = ["strace", "-f", "-p", str(process_id), "-e", f"trace={call}"]
    words += ["-e", f"inject={call}:error={error}:when={when}", "-o", str(log)]
    tracer = subprocess.Popen(words, stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    try:
        assert b"attached" in tracer.stderr.readline()
        wait_for(lambda: _is_traced(process_id))
        yield
    finally:
        tracer.terminate()
        tracer.wait(10)
        tracer.stderr.close()


def _is_traced(process_id: int) -> bool:
    threads = Path(f"/proc/{process_id}/task").iterdir()
    return all("TracerPid:\t0\n" not in (thread / "status").read_text() for thread in threads)


def send(relay: Relay, folder: Path, first: int, acknowledged: dict[str, str]) -> set[int]:
    """Send some, each once; what was answered."""
    place = Destination("RELAY", "CT1", (Endpoint("127.0.0.1", relay.port),), False, None, 2, 5, 1)
    answers: set[int] = set()
    number = first
    deadline = time.monotonic() + 20
    while number < first + INSTANCES and time.monotonic() < deadline:
        try:
            with Outbound(place, ((CT, EXPLICIT),), 10) as association:
                while number < first + INSTANCES:
                    uid = f"1.2.5.{number}"
                    number += 1
                    data_set = make_noise(uid)
                    meta = encode_file_meta(CT, uid, EXPLICIT)
                    path = folder / "sent"
                    path.write_bytes(meta + data_set)
                    parcel = Parcel(path, len(meta), len(meta) + len(data_set), None, CT, uid, EXPLICIT)
                    status = association.store(parcel)
                    answers.add(status)
                    if status == 0:
                        acknowledged[uid] = hashlib.sha256(data_set).hexdigest()
                association.release()
        except AssociationFailed:
            answers.add(-1)
    return answers


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (see tests/debian-packages.txt)")
@pytest.mark.skipif(os.geteuid() != 0, reason="attaching to a process that is no child needs root")
@pytest.mark.parametrize(("call", "error", "when"), CASES)
def test_a_call_that_fails_once_loses_nothing(tmp_path: Path, call: str, error: str, when: int) -> None:
    # T61
    with sinking(Script()) as script:
        relay = Relay(tmp_path, script.port, retention={"keep_s": 0, "max_bytes": None})
        relay.port = relay.document["listen"]["port"] = free_port()
        relay.write()
        nursery = Nursery(relay)
        try:
            nursery.bear()
            acknowledged: dict[str, str] = {}
            with failing(nursery.child, call, error, when, tmp_path / "strace"):
                answers = send(relay, tmp_path, 0, acknowledged)
            assert "(INJECTED)" in (tmp_path / "strace").read_text(), "nothing failed"
            assert answers <= {0, 0xA700, -1}, f"a sender was told {answers}"
            assert send(relay, tmp_path, 100, acknowledged) == {0}, (
                "it does not take any more although the disk is well"
            )
            nursery.kill()
            nursery.bear()
            relay.ask("retry")
            wait_for(lambda: relay.ask("status")["states"]["queued"] == 0, 30)
            states = relay.ask("status")["states"]
            assert (states["quarantined"], states["unrouted"]) == (0, 0), relay.ask("list")
            check_delivery(acknowledged, script)
        finally:
            nursery.end()
