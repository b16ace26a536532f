"""What is not confirmed undoes itself: on real files, by a real shell, in a folder whose clock is a sleep."""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from fleet.errors import NetworkError
from fleet.plan.decide import make_host_plan
from fleet.plan.steps import HostPlan
from fleet.push.apply import ApplySettings, Confirmation, apply_host
from fleet.push.lock import observe_lock
from fleet.push.observe import observe_host
from fleet.push.outcome import Outcome
from fleet.push.script import Script
from fleet.push.stage import StageSettings, make_stage_script
from fleet.push.switch import SwitchSettings, make_switch_script
from fleet.push.transport import CommandResult
from fleet.push.window import Window, make_confirm_script, make_revert_script, parse_window_reply
from fleet.render.artifacts import RenderedHost, RenderedService
from tests.plan.test_properties import hosts, rendered_hosts
from tests.push.fake_host import FakeHost
from tests.push.local_host import LocalTransport
from tests.push.scenes import NOW, converge, list_leftovers, make_plan, rendered_file, rendered_host
from tests.push.test_interrupted import NEW, OLD, list_cuts, read, render
from tests.push.test_properties_on_files import build

TOKEN = "run-1.aa"


def state(root: Path) -> dict[str, object]:
    """Everything that a way back has to restore: files, modes, absences, folders, units, records."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        kept = ("var/lib/fleet/previous", "var/lib/fleet/originals", "var/lib/fleet/reverted", "run", "units/log")
        if name.startswith(kept) or name == "var/lib/fleet/originals":
            continue
        mode = 0 if name.startswith("units/") else path.stat().st_mode  # the stub's own files
        found[name] = (mode, path.read_bytes() if path.is_file() else b"")
    return found


def arm(plan: HostPlan, transport: LocalTransport, window_s: int = 60) -> None:
    """Staged and switched, with a window that nobody has decided yet."""
    transport.run_script(make_stage_script(plan, StageSettings(TOKEN, "anna", way_back=True)), deadline_s=30)
    done = transport.run_script(make_switch_script(plan, SwitchSettings(TOKEN, "anna", window_s)), deadline_s=30)
    assert b"\narmed\n" in done.stdout, done


def ask(transport: LocalTransport, script: Script) -> Window:
    return parse_window_reply(transport.run_script(script, deadline_s=30)).window


def go_back(transport: LocalTransport) -> Window:
    until = time.monotonic() + 20
    while (window := ask(transport, make_revert_script(TOKEN))) in {Window.ARMED, Window.REVERTING}:
        assert time.monotonic() < until
        time.sleep(0.05)
    return window


@pytest.fixture
def old(root: Path) -> Path:
    (root / "lib/systemd/system/pacs.service").touch()
    assert converge(render(OLD), LocalTransport(root)).outcome is Outcome.CONVERGED
    return root


def trying(prove: Callable[[str], str], within_s: float = 30) -> ApplySettings:
    return replace(NOW, confirmation=Confirmation(within_s, prove, prove_s=0))


def test_what_is_proven_stays_and_leaves_nothing_behind(old: Path) -> None:
    asked: list[str] = []

    def prove(host: str) -> str:
        asked.append(host)
        assert read(old) == NEW
        assert (old / "var/lib/fleet/revert").is_dir()
        return ""

    transport = LocalTransport(old)
    outcome = apply_host(make_plan(render(NEW), transport), transport, trying(prove))
    assert outcome.outcome is Outcome.CONVERGED, outcome
    assert asked == ["north-1"]
    assert read(old) == NEW
    assert list_leftovers(old) == []
    assert not (old / "var/lib/fleet/revert").exists()
    assert observe_lock(transport, deadline_s=30).lease is None
    assert make_plan(render(NEW), transport).is_empty


def test_what_is_not_proven_is_as_before(old: Path) -> None:  # T33
    before = state(old)
    transport = LocalTransport(old)
    calls: list[str] = []

    def prove(_host: str) -> str:
        calls.append(_host)
        return "NORTH_PACS rejects" if len(calls) == 1 else ""

    outcome = apply_host(make_plan(render(NEW), transport), transport, trying(prove))
    assert (outcome.outcome, outcome.phase) == (Outcome.ROLLED_BACK, "echo"), outcome
    assert outcome.detail == "NORTH_PACS rejects; it was not confirmed, and the host is as it was before"
    assert outcome.outcome.is_failure
    assert state(old) == before
    assert len(calls) == 2  # the way back is proven the same way
    assert list_leftovers(old) == []
    assert observe_lock(transport, deadline_s=30).lease is None


def test_a_host_that_does_not_serve_after_the_way_back_is_a_failed_rollback(old: Path) -> None:  # T33
    transport = LocalTransport(old)
    outcome = apply_host(make_plan(render(NEW), transport), transport, trying(lambda _host: "nobody answers"))
    assert outcome.outcome is Outcome.ROLLBACK_FAILED
    assert read(old) == OLD


def test_a_unit_that_does_not_start_again_is_a_failed_rollback(old: Path) -> None:
    transport = LocalTransport(old)

    def prove(_host: str) -> str:
        (old / "units/pacs.service.active").unlink()
        (old / "units/pacs.service.fails-to-restart").touch()
        return "silent"

    outcome = apply_host(make_plan(render(NEW), transport), transport, trying(prove))
    assert outcome.outcome is Outcome.ROLLBACK_FAILED
    assert outcome.detail == (
        "silent; the host could not put everything back: pacs.service is inactive; the files are as before;"
        " look at the host now"
    )
    assert read(old) == OLD


def test_a_handler_that_fails_takes_the_change_back(old: Path) -> None:  # T33
    before = state(old)
    transport = LocalTransport(old)
    files = [rendered_file(path, text, restarts=("pacs.service",), handler="exit 3") for path, text in NEW.items()]
    wanted = rendered_host(*files, services=(RenderedService("pacs.service", ours=False),))
    outcome = apply_host(make_plan(wanted, transport), transport, trying(lambda _host: ""))
    # Everything is back, and was looked at; that the handler fails over the old files too is said, and no more.
    assert (outcome.outcome, outcome.phase) == (Outcome.ROLLED_BACK, "handler")
    assert outcome.detail == (
        "exit 3 (exit status 3) failed; it was not confirmed, and the host is as it was before, where this handler"
        " fails too: exit 3"
    )
    assert {path: value for path, value in state(old).items() if "units/" not in path} == {
        path: value for path, value in before.items() if "units/" not in path
    }


def test_a_file_that_cannot_be_put_back_is_named_once_in_plain_words(old: Path) -> None:  # T33
    transport = LocalTransport(old)

    def prove(_host: str) -> str:
        for path in ("etc/a/one.cfg", "etc/b/two.cfg"):
            (old / path).unlink()
            (old / path).mkdir()  # somebody puts folders in the way
        return "silent"

    outcome = apply_host(make_plan(render(NEW), transport), transport, trying(prove))
    assert outcome.outcome is Outcome.ROLLBACK_FAILED
    assert "not as before: /etc/a/one.cfg, /etc/b/two.cfg" in outcome.detail
    assert "files are in place" not in outcome.detail
    for slip in (";;", "  ", "; ;", ":;"):
        assert slip not in outcome.detail, outcome.detail


def test_the_host_goes_back_by_itself_when_nobody_comes(old: Path) -> None:  # T33: controller killed, network cut
    before = state(old)
    transport = LocalTransport(old)
    arm(make_plan(render(NEW), transport), transport, window_s=3)
    assert read(old) == NEW
    until = time.monotonic() + 15
    while (old / "var/lib/fleet/revert").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    wait_for_release(transport)
    assert state(old) == before
    assert ask(transport, make_confirm_script(TOKEN)) is Window.REVERTED


def wait_for_release(transport: LocalTransport) -> None:
    until = time.monotonic() + 10
    while observe_lock(transport, deadline_s=30).lease is not None:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_confirmation_and_the_way_back_are_never_both(old: Path) -> None:
    transport = LocalTransport(old)
    arm(make_plan(render(NEW), transport), transport)
    assert ask(transport, make_confirm_script(TOKEN)) is Window.CONFIRMED
    assert ask(transport, make_revert_script(TOKEN)) is Window.NONE
    assert read(old) == NEW


class Cut(LocalTransport):
    """A connection that is gone once the switch was sent; the host goes on."""

    def run_script(self, script: Script, **more: object) -> CommandResult:
        result = super().run_script(script, deadline_s=30)
        if script.verb == "switch":
            raise NetworkError("the connection broke", phase="session")
        return result


def test_a_link_that_breaks_in_the_switch_ends_as_before(old: Path) -> None:  # T25, T33
    before = state(old)
    transport = LocalTransport(old)
    plan = make_plan(render(NEW), transport)
    outcome = apply_host(plan, Cut(old), trying(lambda _host: ""), renew=lambda: transport)
    assert outcome.outcome is Outcome.ROLLED_BACK, outcome
    assert state(old) == before


def test_a_confirmation_whose_answer_is_lost_counts(old: Path) -> None:
    class Deaf(LocalTransport):
        def run_script(self, script: Script, **more: object) -> CommandResult:
            result = super().run_script(script, deadline_s=30)
            if script.verb == "confirm" and sum(each.verb == "confirm" for each in self.scripts) == 1:
                raise NetworkError("the connection broke", phase="session")
            return result

    transport = Deaf(old)
    outcome = apply_host(make_plan(render(NEW), transport), transport, trying(lambda _host: ""))
    assert outcome.outcome is Outcome.CONVERGED
    assert read(old) == NEW


def test_what_an_earlier_run_left_is_undone_before_the_next_one_begins(old: Path) -> None:  # T29
    transport = LocalTransport(old)
    arm(make_plan(render(NEW), transport), transport)
    # The host loses its timer and its lease, as by a restart whose boot-time unit was taken away.
    shutil.rmtree(old / "run/fleet")
    newer = make_plan(render({**NEW, "/etc/a/one.cfg": "newer one\n"}), transport)
    outcome = apply_host(newer, transport, trying(lambda _host: ""))
    assert (outcome.outcome, outcome.phase) == (Outcome.STALE, "lock")
    assert "it has been put back now" in outcome.detail
    assert read(old) == OLD
    assert converge(render(NEW), transport).outcome is Outcome.CONVERGED


def test_a_way_back_that_is_killed_anywhere_finishes_when_run_again(old: Path, tmp_path: Path) -> None:  # T29, T31
    transport = LocalTransport(old)
    before = state(old)
    arm(make_plan(render(NEW), transport), transport, window_s=600)
    text = (old / "var/lib/fleet/revert/run").read_text()
    shutil.rmtree(old / "run")  # what follows is after a restart
    for number, cut in enumerate(cuts := list_cuts(Script("revert", text))):
        root = tmp_path / f"host-{number}"
        shutil.copytree(old, root, symlinks=True)
        mine = LocalTransport(root)
        assert mine.run_text((text[:cut] + "kill -9 $$\n" + text[cut:]).encode()).status == -9
        now = read(root)
        assert all(now.get(path) in {OLD.get(path), NEW.get(path)} for path in {*OLD, *NEW}), number
        mine.run_text(text.encode())
        assert read(root) == OLD, number
        assert state(root) == before, number
        assert list_leftovers(root) == []
        assert make_plan(render(OLD), mine).is_empty
    assert len(cuts) > 8
    shutil.rmtree(old / "var/lib/fleet/revert")  # its timer has nothing to wait for any more


def test_killed_between_any_two_actions_of_an_armed_switch(old: Path, tmp_path: Path) -> None:  # T29, T31
    before = state(old)
    plan = make_plan(render(NEW), LocalTransport(old))
    chosen = SwitchSettings(TOKEN, "anna", 600)
    for number, cut in enumerate(list_cuts(make_switch_script(plan, chosen))):
        root = tmp_path / f"host-{number}"
        shutil.copytree(old, root, symlinks=True)
        transport = LocalTransport(root)
        transport.run_script(make_stage_script(plan, StageSettings(TOKEN, "anna", way_back=True)), deadline_s=30)
        text = make_switch_script(plan, chosen).text
        assert transport.run_text((text[:cut] + "kill -9 $$\n" + text[cut:]).encode()).status == -9
        now = read(root)
        assert all(now.get(path) in {OLD.get(path), NEW.get(path)} for path in {*OLD, *NEW}), number
        armed = (root / "var/lib/fleet/revert").exists()
        if armed:
            assert go_back(transport) is Window.REVERTED
            wait_for_release(transport)
            assert {path: value for path, value in state(root).items() if "stag" not in path} == before, number
        shutil.rmtree(root / "run/fleet")
        assert converge(render(NEW), transport).outcome is Outcome.CONVERGED, number
        assert read(root) == NEW
        assert list_leftovers(root) == []


def test_a_full_disk_keeps_nobody_from_going_back(old: Path) -> None:  # T26
    """Links and renames need no space: with the copies gone too, the old files are still there."""
    before = state(old)
    transport = LocalTransport(old)
    arm(make_plan(render(NEW), transport), transport)
    shutil.rmtree(old / "var/lib/fleet/previous")
    assert go_back(transport) is Window.REVERTED
    wait_for_release(transport)
    assert state(old) == before


@given(rendered_hosts(), hosts())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_revert_gives_exactly_the_state_before(rendered: RenderedHost, host: FakeHost) -> None:
    rendered = replace(
        rendered,
        files=tuple(
            replace(file, owner="root:root", handler="true" if file.handler else None) for file in rendered.files
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        transport = build(host, Path(folder))
        plan = make_host_plan(rendered, observe_host(rendered, transport, deadline_s=30), adopt=True)
        (Path(folder) / "var/lib/fleet/started").mkdir(exist_ok=True, mode=0o755)
        (Path(folder) / "var/lib/fleet/started").chmod(0o755)
        (Path(folder) / "var/lib/fleet/was-started").mkdir(exist_ok=True, mode=0o700)
        before = state(Path(folder))
        calls: list[str] = []

        def prove(name: str) -> str:
            calls.append(name)
            return "silent" if len(calls) == 1 else ""

        outcome = apply_host(plan, transport, trying(prove))
        if not plan.steps:
            assert outcome.outcome is Outcome.UNCHANGED
        elif calls and outcome.outcome is Outcome.ROLLED_BACK:
            assert state(Path(folder)) == before
        else:  # only records changed: there is nothing to take back
            assert not any(type(step).__name__ in {"WriteFile", "RemoveFile"} for step in plan.steps), outcome
