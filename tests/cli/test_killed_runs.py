"""A controller that is killed with -9 at any moment, over hosts that are folders with a real shell, is gone on with."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

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


def start(folder: Path, verb: str, *words: str) -> subprocess.Popen[str]:
    typed = [verb, *words, "-i", str(folder / "inventory"), "--history", str(folder / "history.sqlite")]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder / "hosts"), *typed],
        cwd=Path(__file__).parents[2],
        env=clean_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
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
