"""A sweep that is ended by a signal tells and records what it had, as a whole process."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleet.report.history.opening import open_history
from tests.verify.peers import answer_well, hang_after_accept, serving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_sweep_with_a_whole_report(tmp_path: Path, number: signal.Signals) -> None:
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(serving(answer_well, "127.30.1.1"))
        silent = stack.enter_context(serving(hang_after_accept, "127.30.1.2"))
        lines = [f"GOOD{n},127.30.1.1,{good.port}" for n in range(50)]
        lines += [f"SILENT{n},127.30.1.2,{silent.port}" for n in range(20)]
        (tmp_path / "targets.csv").write_text("\n".join(lines))
        fleet = str(Path(sys.executable).with_name("fleet"))
        command = [fleet, "verify", "--targets", "targets.csv", "-o", "json", "--history", "history.sqlite"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for_results(tmp_path / "history.sqlite", 50)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=10)
    assert process.returncode in (1, 2)
    assert "interrupted" in stderr
    document = json.loads(stdout)
    assert document["summary"]["total"] == 70
    assert document["summary"]["answered"] == 50
    assert document["summary"]["unknown"] == 20
    with open_history(tmp_path / "history.sqlite") as history:
        run = history.show_run("last")
        assert run.exit_status == process.returncode
        assert len(history.echo_results(run.run_id)) == 70


def test_a_killed_sweep_has_recorded_what_it_had_until_a_moment_before(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(serving(answer_well, "127.30.2.1"))
        silent = stack.enter_context(serving(hang_after_accept, "127.30.2.2"))
        lines = [f"GOOD{n},127.30.2.1,{good.port}" for n in range(30)]
        lines += [f"SILENT{n},127.30.2.2,{silent.port}" for n in range(5)]
        (tmp_path / "targets.csv").write_text("\n".join(lines))
        fleet = str(Path(sys.executable).with_name("fleet"))
        command = [fleet, "verify", "--targets", "targets.csv", "-o", "json", "--history", "history.sqlite"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        wait_for_results(tmp_path / "history.sqlite", 25)
        process.kill()
        process.wait(timeout=10)
    with open_history(tmp_path / "history.sqlite") as history:
        (run,) = history.list_runs()
        assert run.finished_at is None
        assert {line.outcome for line in history.echo_results(run.run_id)} >= {"answered"}
    words = [*command[:4], "-l", "@failed", *command[6:]]
    again = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"@failed: the run {run.run_id} was cut off, or still goes on" in again.stdout + again.stderr


def wait_for_results(path: Path, count: int) -> None:
    """Until so many results are in the history; the first recording comes a second after the first result."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if path.exists():
            with contextlib.suppress(Exception), open_history(path, create=False) as history:
                if len(history.echo_results("last")) >= count:
                    return
        time.sleep(0.05)
    raise AssertionError("nothing was recorded")
