"""A controller that is killed with -9 at any moment, over hosts that are folders with a real shell, is gone on with."""

import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fleet.push.lock import observe_lock
from tests.cli.doors import clean_environment
from tests.push.local_host import LocalTransport, make_root
from tests.push.scenes import list_leftovers
from tests.workflow.scenes import HEAD, NOTE, host_rows

HOSTS = ("north-1", "north-2", "north-3")
KILLS = int(os.environ.get("FLEET_KILLS", "3"))
PROGRAM = """
import sys
from contextlib import contextmanager
from pathlib import Path
from fleet.cli import opening
from fleet.cli.main import run
from tests.push.local_host import LocalConnector
folder = Path(sys.argv.pop(1))

@contextmanager
def connect(inventory, door):
    yield LocalConnector({path.name: path for path in folder.iterdir()})

opening.open_connector = connect
run()
"""


def start(folder: Path, verb: str, *words: str, terminal: int | None = None) -> subprocess.Popen[str]:
    typed = [verb, *words, "-i", str(folder / "inventory"), "--history", str(folder / "history.sqlite")]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder / "hosts"), *typed],
        cwd=Path(__file__).parents[2],
        env=clean_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if terminal is None else terminal,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(folder: Path, verb: str, *words: str) -> tuple[int, str]:
    with start(folder, verb, *words) as process:
        said, _ = process.communicate(timeout=60)
    return process.returncode, said


def test_a_controller_killed_at_any_moment_is_gone_on_with_by_resume(tmp_path: Path) -> None:  # T29, T31
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    (inventory / "fleet.yml").write_text(HEAD + host_rows(HOSTS) + NOTE, encoding="utf-8")
    for name in HOSTS:
        make_root(tmp_path / "hosts" / name)
    quick = ("--yes", "--hold-down", "0s", "--serial", "2")

    def note(number: int) -> None:
        (inventory / "note.j2").write_text(f"release {number}\n", encoding="utf-8")

    note(0)
    started_at = time.monotonic()
    assert finish(tmp_path, "apply", *quick)[0] == 0
    whole_s = time.monotonic() - started_at
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    for number in range(1, KILLS + 1):
        note(number)
        with start(tmp_path, "apply", *quick) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(whole_s / 3, whole_s))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=10)
        for name in HOSTS:
            text = (tmp_path / "hosts" / name / "etc/note").read_text(encoding="utf-8")
            assert text in {f"release {number - 1}\n", f"release {number}\n"}, (seed, number, name)
        status, said = finish(tmp_path, "apply", "--resume", "last", *quick)
        if "the inventory moved on" in said:  # it was killed before it began: what is last is the run before
            status, said = finish(tmp_path, "apply", *quick)
        assert status == 0, (seed, number, said)
        for name in HOSTS:
            root = tmp_path / "hosts" / name
            assert (root / "etc/note").read_text(encoding="utf-8") == f"release {number}\n", (seed, number, said)
            assert list_leftovers(root) == [], (seed, number, said)
            assert not (root / "var/lib/fleet/revert").exists()
            assert observe_lock(LocalTransport(root), deadline_s=30).lease is None
    status, said = finish(tmp_path, "history", "verify")
    assert status == 0, (seed, said)


# Signals and terminals -----------------------------------------------------------------------------------

QUICK = ("--yes", "--hold-down", "0s", "--serial", "1")


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    """Hosts whose handler waits for a file `go`, and says in `busy` that it does."""
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    handler = f"touch {tmp_path}/busy; until [ -e {tmp_path}/go ]; do sleep 0.05; done"
    note = NOTE.replace("path: /etc/note", f'path: /etc/note, handler: "{handler}"')
    (inventory / "fleet.yml").write_text(HEAD + host_rows(HOSTS) + note, encoding="utf-8")
    (inventory / "note.j2").write_text("hello\n", encoding="utf-8")
    for name in HOSTS:
        make_root(tmp_path / "hosts" / name)
    return tmp_path


def wait_for(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until, f"{path} never came"
        time.sleep(0.02)


def outcomes(folder: Path) -> dict[str, str]:
    _, said = finish(folder, "history", "last", "-o", "json")
    return {row["host"]: row["outcome"] for row in json.loads(said)["hosts"]}


@pytest.mark.parametrize("numbers", [(signal.SIGHUP, signal.SIGHUP), (signal.SIGTERM, signal.SIGHUP)])
def test_a_terminal_that_closes_settles_the_hosts_in_flight(busy: Path, numbers: tuple[signal.Signals, ...]) -> None:
    """The kernel and the shell both send SIGHUP then: the second is not a second wish to stop."""
    with start(busy, "apply", *QUICK) as process:
        wait_for(busy / "busy")
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.3)  # two signals that come together are one
        (busy / "go").touch()
        said, _ = process.communicate(timeout=60)
    assert (process.returncode, "goes on" in said) == (1, True), said
    assert outcomes(busy) == {"north-1": "converged", "north-2": "not_reached", "north-3": "not_reached"}


def test_a_terminal_that_is_gone_stops_nobody_who_was_told_to_stay(busy: Path) -> None:
    """`fleet apply & disown`: nothing can be written any more, and the hosts are changed all the same."""
    ours, theirs = pty.openpty()
    with start(busy, "apply", "-v", *QUICK, terminal=theirs) as process:
        os.close(theirs)
        wait_for(busy / "busy")
        os.close(ours)
        (busy / "go").touch()
        process.wait(timeout=60)
    assert outcomes(busy) == dict.fromkeys(HOSTS, "converged")


def test_a_second_ctrl_c_does_not_wait_and_nothing_more_is_done(busy: Path) -> None:  # T29
    with start(busy, "apply", *QUICK) as process:
        wait_for(busy / "busy")
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        process.wait(timeout=20)  # while the handler on the host still waits
    assert outcomes(busy) == {"north-1": "failed", "north-2": "not_reached", "north-3": "not_reached"}
    (busy / "go").touch()
    status, said = finish(busy, "apply", "--resume", "last", *QUICK)
    assert (status, "was never confirmed, and was put back" in said) == (0, True), said
    assert outcomes(busy) == dict.fromkeys(HOSTS, "converged")
