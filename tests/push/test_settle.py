"""What a run that is over left on a host is brought to its end: on real files, by a real shell."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import HostError
from fleet.push.apply import apply_host
from fleet.push.lock import Claim, observe_lock
from fleet.push.outcome import Outcome
from fleet.push.script import Script
from fleet.push.settle import SettleSettings, settle_host
from fleet.push.stage import StageSettings, make_stage_script
from fleet.push.switch import SwitchSettings, make_switch_script
from fleet.push.transport import CommandResult
from tests.push.local_host import LocalTransport
from tests.push.scenes import NOW, converge, list_leftovers, make_plan
from tests.push.test_interrupted import NEW, OLD, read, render
from tests.push.test_revert import state

DEAD = "run-1.aa"
SETTINGS = SettleSettings(Claim("anna at desk-1", "run-2"), wait_s=0)


@pytest.fixture
def old(root: Path) -> Path:
    (root / "lib/systemd/system/pacs.service").touch()
    assert converge(render(OLD), LocalTransport(root)).outcome is Outcome.CONVERGED
    return root


def stage(root: Path, token: str = DEAD) -> CommandResult:
    transport = LocalTransport(root)
    settings = StageSettings(token, "anna at desk-1", way_back=True)
    return transport.run_script(make_stage_script(make_plan(render(NEW), transport), settings), deadline_s=30)


def arm(root: Path) -> None:
    transport = LocalTransport(root)
    plan = make_plan(render(NEW), transport)
    transport.run_script(make_stage_script(plan, StageSettings(DEAD, "anna", way_back=True)), deadline_s=30)
    done = transport.run_script(make_switch_script(plan, SwitchSettings(DEAD, "anna", 60)), deadline_s=30)
    assert b"\narmed\n" in done.stdout, done


def is_clean(root: Path) -> bool:
    is_free = observe_lock(LocalTransport(root), deadline_s=30).lease is None
    return is_free and list_leftovers(root) == [] and not (root / "var/lib/fleet/revert").exists()


def test_where_nothing_was_left_nothing_is_done(old: Path) -> None:
    before = state(old)
    assert settle_host(LocalTransport(old), "run-1", SETTINGS) == ""
    assert state(old) == before
    assert is_clean(old)


def test_what_was_staged_goes_and_the_lock_is_given_back(old: Path) -> None:  # T29
    before = state(old)
    assert b"staged" in stage(old).stdout
    assert settle_host(LocalTransport(old), "run-1", SETTINGS) == "what it had staged is removed"
    folder = {"etc/c": state(old)["etc/c"]}  # it was made for a file, and does no harm
    assert state(old) == before | folder
    assert is_clean(old)


def test_a_window_that_nobody_will_confirm_is_undone_at_once(old: Path) -> None:  # T33
    before = state(old)
    arm(old)
    assert read(old) == NEW
    said = settle_host(LocalTransport(old), "run-1", SETTINGS)
    assert said == "its change was never confirmed, and was put back"
    assert state(old) == before
    assert is_clean(old)
    assert settle_host(LocalTransport(old), "run-1", SETTINGS) == ""
    assert converge(render(NEW), LocalTransport(old)).outcome is Outcome.CONVERGED


def test_a_way_back_that_does_not_succeed_is_said(old: Path) -> None:
    arm(old)
    (old / "units/pacs.service.active").unlink()
    (old / "units/pacs.service.fails-to-restart").touch()
    with pytest.raises(HostError, match="putting it back did not succeed"):
        settle_host(LocalTransport(old), "run-1", SETTINGS)
    assert read(old) == OLD


def test_somebody_elses_lock_is_left_alone_and_named(old: Path) -> None:  # T32
    stage(old, "run-9.bb")
    before = state(old)
    with pytest.raises(HostError, match=r"locked by anna at desk-1 \(run run-9\)"):
        settle_host(LocalTransport(old), "run-1", SETTINGS)
    assert state(old) == before
    lease = observe_lock(LocalTransport(old), deadline_s=30).lease
    assert lease is not None
    assert (lease.run_id, lease.is_working) == ("run-9", False)


def test_a_run_whose_name_begins_like_it_is_another(old: Path) -> None:
    stage(old, "run-11.bb")
    with pytest.raises(HostError, match="run-11"):
        settle_host(LocalTransport(old), "run-1", SETTINGS)


def test_a_script_of_the_run_that_still_works_there_is_waited_for(old: Path) -> None:  # T32
    transport = LocalTransport(old)
    text = make_stage_script(make_plan(render(NEW), transport), StageSettings(DEAD, "anna", way_back=True)).text
    # The script stands still where it would end, until it is told to go on.
    (old / "go-on").touch()
    waiting = re.sub(
        r"\nstage_end (\d+)\n", r'\nsay at-work\nwhile [ -e "$root/go-on" ]; do sleep 0.05; done\nstage_end \1\n', text
    )
    assert waiting != text
    with subprocess.Popen(
        ["/bin/sh", "-s"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"FLEET_ROOT": str(old), "PATH": "/usr/bin:/bin"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(waiting.encode())
        process.stdin.close()
        for line in process.stdout:
            if line.startswith(b"at-work"):
                break
        asked: list[float] = []

        class Clock:
            def monotonic_s(self) -> float:
                return float(len(asked))

            def sleep(self, seconds: float) -> None:
                asked.append(seconds)
                lease = observe_lock(transport, deadline_s=30).lease
                assert lease is None or lease.is_working
                (old / "go-on").unlink(missing_ok=True)
                process.stdout.read()  # type: ignore[union-attr] # a pipe, as asked for
                process.wait()

        said = settle_host(transport, "run-1", replace(SETTINGS, wait_s=30, clock=Clock()))
    assert (said, len(asked)) == ("what it had staged is removed", 1)
    assert is_clean(old)


# The lock of a run that is over, taken by the next apply ----------------------------------------------------


def test_the_next_apply_takes_the_lock_of_a_run_that_is_over(old: Path) -> None:  # T32
    stage(old)
    transport = LocalTransport(old)
    plan = make_plan(render(NEW), transport)
    refused = apply_host(plan, transport, NOW)
    assert (refused.outcome, "it runs out in" in refused.detail) == (Outcome.LOCKED, True)
    done = apply_host(plan, transport, replace(NOW, over=frozenset({"run-1"})))
    assert (done.outcome, done.broken_lock) == (Outcome.CONVERGED, "anna at desk-1 (run run-1), which is over")
    assert is_clean(old)


def test_a_lock_that_was_taken_before_an_open_window_settles_it_and_says_plan_again(old: Path) -> None:  # T33
    arm(old)
    transport = LocalTransport(old)
    # The plan was made over the change that nobody confirmed.
    plan = make_plan(render({path: text + "# newer\n" for path, text in NEW.items()}), transport)
    done = apply_host(plan, transport, replace(NOW, over=frozenset({"run-1"})))
    assert done.outcome is Outcome.STALE
    assert "it has been put back now" in done.detail
    assert read(old) == OLD
    assert is_clean(old)


def test_whoever_waits_gets_the_host_when_its_lease_has_ended(old: Path) -> None:
    stage(old, "run-9.bb")
    transport = LocalTransport(old)
    slept: list[float] = []

    class Clock:
        def monotonic_s(self) -> float:
            return sum(slept)

        def sleep(self, seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                lock = Script("unlock", "", "run-9.bb")
                from fleet.push.lock import break_lock

                assert break_lock(transport, str(lock.request), deadline_s=30).broken

    plan = make_plan(render(NEW), transport)
    done = apply_host(plan, transport, replace(NOW, wait_s=10, clock=Clock()))
    assert (done.outcome, done.broken_lock, len(slept)) == (Outcome.CONVERGED, "", 3)
