"""Scratched anywhere, or killed at any moment, a history answers rightly or says that it is broken. T44"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.errors import HistoryError
from fleet.report.history.opening import History, open_history
from fleet.report.records import AppliedFleet, Snapshot
from fleet.report.summary import FileChange, HostLine
from tests.report.rows import echo, start


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "history.sqlite"
    with open_history(path) as history:
        for number in range(3):
            run_id = f"r{number}"
            history.record_run_start(start(run_id, argv=("fleet", "verify")))
            history.record_inventory(Snapshot(f"d{number}", run_id, "now", {"fleet.yml": b"fleet: {}\n" * number}))
            history.record_applied(AppliedFleet(run_id, "now", "d", frozenset({"A", "B"}), frozenset({"h"})))
            history.record_host_outcomes(run_id, [HostLine("h", "converged", files=(FileChange("/etc/a", None, "1"),))])
            history.record_echo_results(run_id, [echo("A", "refused", warnings=["slow"]), echo("B")] * 5)
            history.mark_done([{"box": "CT", "digest": str(number)}], "me", "2026-01-01")
            history.record_run_finish(run_id, "later", 0, {"hosts": {"converged": 1}})
    return path.read_bytes()


def ask_everything(history: History) -> list[object]:
    """Every question; given back is what decisions rest on."""
    history.last_sweep()
    history.host_outcomes("last")
    history.failed_names()
    history.sheets_at("last")
    history.failing_since()
    return [
        history.list_runs(),
        history.last_valid_inventory(),
        history.last_applied(),
        history.known_hosts(),
        history.sheet_marks(),
    ]


def test_bytes_changed_anywhere_are_never_anything_but_an_answer_or_a_history_error(
    whole: bytes, tmp_path: Path
) -> None:  # T44
    chance = random.Random(44)
    path = tmp_path / "history.sqlite"
    used = [at for at in range(0, len(whole) - 8, 8) if any(whole[at : at + 8])]
    refused = 0
    for _ in range(400):
        at = chance.choice(used)
        path.write_bytes(whole[:at] + chance.randbytes(8) + whole[at + 8 :])
        try:
            with open_history(path) as history:
                assert all(ask_everything(history)), "a scratched table was taken for an empty one"
        except HistoryError:
            refused += 1
    assert refused > 100


WRITER = """
import sys
from pathlib import Path
from fleet.report.history.opening import open_history
from tests.report.rows import echo, start
for number in range(100000):
    with open_history(Path(sys.argv[1])) as history:
        run_id = f"{sys.argv[2]}-{number}"
        history.record_run_start(start(run_id))
        history.record_echo_results(run_id, [echo(run_id)] * 50)
        history.record_run_finish(run_id, "later", 0, {})
        print(run_id, flush=True)
"""


def test_killed_at_any_moment_nothing_that_was_recorded_is_lost(tmp_path: Path) -> None:  # T44
    path = tmp_path / "history.sqlite"
    done: list[str] = []
    chance = random.Random(9)
    for turn in range(6):
        command = [sys.executable, "-c", WRITER, str(path), str(turn)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as writer:
            assert writer.stdout is not None
            wanted = chance.randrange(1, 40)
            done += [writer.stdout.readline().strip() for _ in range(wanted)]
            os.kill(writer.pid, signal.SIGKILL)
            done += [line.strip() for line in writer.stdout if line.endswith("\n")]
        with open_history(path, create=False) as history:
            history.check()
            finished = {run.run_id for run in history.list_runs(100_000) if run.exit_status == 0}
            assert set(done) <= finished
            for run_id in done[-3:]:
                assert len(history.echo_results(run_id)) == 50
