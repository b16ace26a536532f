"""A run that was cut off is gone on with: every host ends, what was half-done is settled, nothing else is touched."""

import os
import signal
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import HistoryError, UsageError
from fleet.events import HostPhase
from fleet.plan.batches import FailureBudget
from fleet.push import observe
from fleet.push.settings import ApplySettings
from fleet.report.alive import hold_run, is_at_work
from fleet.report.history.opening import open_history
from fleet.report.journal import journal_of
from fleet.report.summary import RunReport
from fleet.workflow.changing import Batching
from fleet.workflow.story import Story
from tests.push.fake_host import FakeFile, FakeHost
from tests.workflow.scenes import Scene, at_once, details, in_ones, outcomes


class Killed(BaseException):
    """kill -9: nothing after it runs, nothing is written down any more."""


def kill_in(scene: Scene, verb: str, name: str, batching: Batching | None = None) -> None:
    """Apply, and be killed when this host is asked for this."""
    host = scene.machines[name]
    context = scene.context()

    class Deadly(FakeHost):
        def run_script(self, script: Any, **more: Any) -> Any:
            if script.verb == verb:
                raise Killed
            return super().run_script(script, **more)

    scene.machines[name] = deadly = Deadly(**vars(host))
    with open_history(context.history_file) as history:
        from fleet.workflow.ledger import Ledger

        ledger = Ledger(context, history, "apply")
        with pytest.raises(Killed):
            Story(context, ledger, history, scene.connect).apply(batching or in_ones())
    scene.machines[name] = FakeHost(**vars(deadly))


def resume(scene: Scene, run_id: str = "last", batching: Batching | None = None) -> RunReport:
    def act(story: Story) -> None:
        held = story.hold_run(run_id)
        story.settle(held)
        story.apply(batching or in_ones(), held=held)

    return scene.run(act)


def notes(scene: Scene) -> Mapping[str, bytes]:
    return {name: host.files["/etc/note"].content for name, host in scene.machines.items() if "/etc/note" in host.files}


def refused_with(report: RunReport) -> str:
    return report.failure or report.findings[0].message


@pytest.mark.parametrize("verb", ["observe", "stage", "switch", "confirm"])
@pytest.mark.parametrize(
    ("name", "batching"), [("north-1", in_ones()), ("north-3", in_ones()), ("north-2", at_once())], ids=str
)
def test_a_controller_killed_at_any_moment_is_gone_on_with(  # T29
    three: Scene, verb: str, name: str, batching: Batching
) -> None:
    kill_in(three, verb, name, batching)
    report = resume(three)
    if verb == "observe":
        assert "nothing to go on with" in refused_with(report) or "has begun to change" in refused_with(report)
        assert notes(three) == {}
        return
    assert set(outcomes(report).values()) <= {"converged", "unchanged"}, report
    assert notes(three) == dict.fromkeys(three.machines, b"hello\n")
    assert all(host.before is None for host in three.machines.values())
    again = three.run(lambda story: story.plan(), "plan")
    assert again.exit_status == 0


def test_only_hosts_without_an_end_are_gone_on_with(three: Scene) -> None:
    kill_in(three, "switch", "north-2")
    three.contacted.clear()
    report = resume(three)
    assert sorted(outcomes(report)) == ["north-2", "north-3"]
    assert "north-1" not in three.contacted
    assert any("2 of its 3 hosts have no final outcome" in each for each in report.notices)


def test_a_change_that_nobody_confirmed_is_put_back_before_it_is_made_again(three: Scene) -> None:  # T33
    kill_in(three, "confirm", "north-1")
    assert three.machines["north-1"].before is not None
    report = resume(three)
    assert any("north-1" in each and "was put back" in each for each in report.notices), report.notices
    assert outcomes(report)["north-1"] == "converged"


def test_after_a_confirmation_that_nobody_heard_the_host_is_as_desired(three: Scene) -> None:
    kill_in(three, "confirm", "north-1")
    three.machines["north-1"].before = None
    assert outcomes(resume(three))["north-1"] == "unchanged"


def test_what_was_staged_by_the_run_is_no_surprise(three: Scene) -> None:
    kill_in(three, "stage", "north-1")
    three.machines["north-1"].leftover = True
    report = resume(three)
    assert outcomes(report)["north-1"] == "converged"
    assert any("what it had staged is removed" in each for each in report.notices)


def test_a_hand_that_was_there_meanwhile_makes_a_host_stale(three: Scene) -> None:
    kill_in(three, "switch", "north-1")
    for name in ("north-1", "north-3"):
        three.machines[name].files["/etc/note"] = FakeFile(b"by hand\n")
    report = resume(three, batching=Batching(1, FailureBudget(3), 0.0))
    assert outcomes(report) == {"north-1": "stale", "north-2": "converged", "north-3": "stale"}
    assert notes(three)["north-1"] == b"by hand\n"


def test_an_inventory_that_moved_on_is_not_gone_on_with(three: Scene) -> None:
    kill_in(three, "switch", "north-2")
    three.note("other")
    three.contacted.clear()
    report = resume(three)
    assert "the inventory moved on since the run run-1: note.j2 changed" in refused_with(report)
    assert three.contacted == []


def test_hosts_that_a_spent_budget_left_out_are_gone_on_with(three: Scene) -> None:
    three.machines["north-1"].failures["switch"] = UsageError("x")
    first = three.run(lambda story: story.apply(in_ones()))
    assert outcomes(first)["north-3"] == "not_reached"
    report = resume(three)
    assert outcomes(report) == {"north-2": "converged", "north-3": "converged"}


def test_a_run_with_every_end_has_nothing_left(three: Scene) -> None:
    three.run(lambda story: story.apply(at_once()))
    three.contacted.clear()
    report = resume(three)
    assert (report.exit_status, report.all_hosts, three.contacted) == (0, (), [])


def test_what_was_resumed_and_cut_off_again_is_gone_on_with_from_there(three: Scene) -> None:
    kill_in(three, "switch", "north-1")
    host = three.machines["north-2"]
    three.machines["north-2"].failures["stage"] = KeyboardInterrupt()  # type: ignore[assignment] # as bad as an error
    report = resume(three)
    assert outcomes(report)["north-1"] == "converged"
    host.failures.clear()
    last = resume(three, "run-1")
    assert sorted(outcomes(last)) == ["north-2", "north-3"]
    assert set(outcomes(last).values()) == {"converged"}


def test_of_two_who_go_on_with_one_run_at_once_one_wins(three: Scene) -> None:  # T32
    """Both have looked, and nobody has begun: the second writes nothing."""
    kill_in(three, "stage", "north-1")

    def act(story: Story) -> None:
        held = story.hold_run("run-1")
        assert resume(three, "run-1").exit_status == 0
        story.apply(in_ones(), held=held)

    late = three.run(act)
    assert (late.exit_status, "gone on with already, by the run run-3" in late.findings[0].message) == (2, True), late
    assert list(three.machines) == [name for name, host in three.machines.items() if host.log.count("switch") == 1]


def test_a_run_that_is_still_at_work_is_not_gone_on_with(three: Scene) -> None:
    kill_in(three, "switch", "north-2")
    program = (
        "import sys, time; from pathlib import Path; from fleet.report.alive import hold_run\n"
        "with hold_run(Path(sys.argv[1]), 'run-1'): print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(three.history_file)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert "is still at work" in refused_with(resume(three))
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert set(outcomes(resume(three)).values()) == {"converged"}


def test_a_run_holds_its_place_until_it_ends(tmp_path: Path) -> None:
    history = tmp_path / "history.sqlite"
    with hold_run(history, "run-1"):
        assert is_at_work(history, "run-1")
    assert not is_at_work(history, "run-1")
    assert not is_at_work(history, "run-2")


# Ctrl-C --------------------------------------------------------------------------------------------------


def test_ctrl_c_settles_the_hosts_in_flight_and_begins_no_more(three: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first host is in flight when it comes: it ends, the two others are not begun."""
    main = os.getpid()
    was_heard = threading.Event()

    real = observe._UnderWay.close

    def close(way: observe._UnderWay) -> None:
        was_heard.set()
        real(way)

    monkeypatch.setattr("fleet.push.observe._UnderWay.close", close)

    def press(event: object, /) -> None:
        if isinstance(event, HostPhase) and (event.host, event.phase) == ("north-1", "switch"):
            os.kill(main, signal.SIGINT)
            assert was_heard.wait(10)

    context = three.context()
    object.__setattr__(context, "observer", press)
    object.__setattr__(context, "forks", 1)
    with open_history(context.history_file) as history:
        from fleet.workflow.ledger import Ledger

        with Ledger(context, history, "apply") as ledger:
            with pytest.raises(KeyboardInterrupt):
                Story(context, ledger, history, three.connect).apply(at_once())
            report = ledger.finish(KeyboardInterrupt())
    assert outcomes(report) == {"north-1": "converged", "north-2": "not_reached", "north-3": "not_reached"}
    assert "not begun: the run was interrupted" in details(report)["north-3"]
    assert "`fleet apply --resume last` goes on" in report.failure
    assert list(notes(three)) == ["north-1"]
    assert outcomes(resume(three)) == {"north-2": "converged", "north-3": "converged"}


# Locks that a run left behind ----------------------------------------------------------------------------


def lease(run_id: str, doing: str = "waiting", left: int = 43) -> tuple[str, ...]:
    return (f"{run_id}.ab", "17", "17", str(left), b64encode(b"anna at desk-1").decode(), doing)


def test_the_lock_of_a_run_that_is_over_is_taken_and_that_is_written_down(three: Scene) -> None:  # T32
    kill_in(three, "stage", "north-1")
    three.machines["north-1"].lease = lease("run-1")
    report = three.run(lambda story: story.apply(at_once()))
    assert outcomes(report)["north-1"] == "converged"
    text = journal_of(three.history_file).read_text(encoding="utf-8")
    assert '"what":"broken lock","host":"north-1","whose":"anna at desk-1 (run run-1), which is over"' in text


def test_the_lock_of_a_run_that_is_still_at_work_is_not_taken(three: Scene) -> None:  # T32
    kill_in(three, "stage", "north-1")
    three.machines["north-1"].lease = lease("run-1")
    with hold_run(three.history_file, "run-1"):
        assert outcomes(three.run(lambda story: story.apply(at_once())))["north-1"] == "locked"
    assert outcomes(three.run(lambda story: story.apply(at_once())))["north-1"] == "converged"


def test_a_run_that_cannot_say_that_it_is_at_work_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite.runs").write_text("in the way", encoding="utf-8")
    with pytest.raises(HistoryError, match="cannot be marked"), hold_run(tmp_path / "history.sqlite", "run-1"):
        pytest.fail("it began")


def test_the_lock_of_somebody_else_is_not_taken(three: Scene) -> None:  # T32
    three.machines["north-1"].lease = lease("20261120T130000Z-abcdef")
    report = three.run(lambda story: story.apply(at_once()))
    assert outcomes(report)["north-1"] == "locked"
    said = details(report)["north-1"]
    assert "is locked by anna at desk-1 (run 20261120T130000Z-abcdef)" in said
    assert "it runs out in 43 s" in said


def test_a_script_that_still_runs_on_the_host_is_not_overtaken(three: Scene) -> None:  # T32
    kill_in(three, "stage", "north-1")
    three.machines["north-1"].lease = lease("run-1", "working")
    assert outcomes(three.run(lambda story: story.apply(at_once())))["north-1"] == "locked"


def test_who_waits_gets_the_host_when_it_is_free(three: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    host = three.machines["north-1"]
    host.lease = lease("20261120T130000Z-abcdef")
    waited: list[float] = []

    class Clock:
        def monotonic_s(self) -> float:
            return sum(waited)

        def sleep(self, seconds: float) -> None:
            waited.append(seconds)
            if sum(waited) >= 5:
                host.lease = ()

    real = ApplySettings
    monkeypatch.setattr("fleet.workflow.changing.ApplySettings", lambda **more: real(**more, clock=Clock()))
    waiting = Batching(1, FailureBudget(), 0.0, wait_s=30.0)
    assert set(outcomes(three.run(lambda story: story.apply(waiting))).values()) == {"converged"}
    three.note("other")
    host.lease, short = lease("20261120T130000Z-abcdef"), Batching(1, FailureBudget(), 0.0, wait_s=3.0)
    waited.clear()
    assert outcomes(three.run(lambda story: story.apply(short)))["north-1"] == "locked"
