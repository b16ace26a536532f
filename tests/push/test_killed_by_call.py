"""The host's side killed at every system call that changes a file: all of its processes, as by a power cut, or only
the one that made the call (T29, T31). Files are wholly old or wholly new, and what comes next settles it.

A sample in CI, spread over each program; every call with FLEET_SOAK=1.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.push.apply import apply_host
from fleet.push.outcome import Outcome
from fleet.push.stage import StageSettings, make_stage_script
from fleet.push.switch import SwitchSettings, make_switch_script
from fleet.push.window import Window, make_confirm_script, make_revert_script, parse_window_reply
from tests.push.local_host import LocalTransport
from tests.push.scenes import NOW, converge, let_leases_expire, list_leftovers, make_plan
from tests.push.test_interrupted import NEW, OLD, read, render

SAMPLES = 10
TOKEN = "run-1.aa"
SOURCE = Path(__file__).parent / "kill_at_call.c"


@pytest.fixture(scope="session")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracer; strace(1) would count the calls of each process by itself."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed (tests/debian-packages.txt)")
    binary = tmp_path_factory.mktemp("killer") / "kill-at-call"
    subprocess.run(["gcc", "-O1", "-o", str(binary), str(SOURCE)], check=True, timeout=60)
    return binary


@pytest.fixture
def old(root: Path) -> Path:
    """A host that is as the old inventory wants it."""
    (root / "lib/systemd/system/pacs.service").touch()
    assert converge(render(OLD), LocalTransport(root)).outcome is Outcome.CONVERGED
    return root


@dataclass
class Victim:
    """Copies of a host, each killed at another call of the same program."""

    killer: Path
    origin: Path
    folder: Path
    how: str

    def run(self, text: str, root: Path, number: int) -> int:
        """How many calls were seen until then."""
        counted = self.folder / "count"
        LocalTransport(root, wrapper=(str(self.killer), str(number), self.how, str(counted))).run_text(text.encode())
        return int(counted.read_text())

    def each(self, text: str) -> Iterator[tuple[int, Path]]:
        """A killed host for every call, or for a sample of them."""
        total = self.run(text, self._copy(0), 0)
        assert total > 20
        step = 1 if os.environ.get("FLEET_SOAK") == "1" else max(1, total // SAMPLES)
        for number in range(1 + (total % step), total + 1, step):
            root = self._copy(number)
            self.run(text, root, number)
            yield number, root
            shutil.rmtree(root)

    def _copy(self, number: int) -> Path:
        root = self.folder / f"host-{number}"
        shutil.copytree(self.origin, root, symlinks=True)
        return root


@pytest.fixture(params=["all", "one"])
def victim(request: pytest.FixtureRequest, killer: Path, old: Path, tmp_path: Path) -> Victim:
    return Victim(killer, old, tmp_path, request.param)


def whole(root: Path) -> bool:
    now = read(root)
    return all(now.get(path) in {OLD.get(path), NEW.get(path)} for path in {*OLD, *NEW})


def finish(root: Path) -> None:
    """The next runs: one that only settles what it found is followed by another."""
    let_leases_expire(root)
    transport = LocalTransport(root)
    outcome = converge(render(NEW), transport)
    if outcome.outcome is Outcome.STALE:  # it put back what was never confirmed
        assert "earlier run" in outcome.detail
        assert read(root) == OLD
        outcome = converge(render(NEW), transport)
    assert outcome.outcome in {Outcome.CONVERGED, Outcome.UNCHANGED}, outcome
    assert read(root) == NEW
    assert make_plan(render(NEW), transport).is_empty
    if (program := root / "var/lib/fleet/revert/run").exists():
        # The plan was empty, and a window is open: the host's timer, or its boot unit, closes it.
        said = transport.run_text(program.read_bytes()).stdout
        if said != f"{TOKEN} confirmed\n".encode():
            assert said.endswith(f"{TOKEN} reverted -\n".encode())
            assert read(root) == OLD
            assert converge(render(NEW), transport).outcome is Outcome.CONVERGED
        assert read(root) == NEW
    assert list_leftovers(root) == []
    assert not (root / "var/lib/fleet/revert").exists()


def restarted(root: Path) -> int:
    log = root / "units/log"
    return log.read_text().count("restart pacs.service") if log.exists() else 0


def test_killed_at_any_call_while_staging_nothing_live_changes(victim: Victim) -> None:  # T25, T29
    text = make_stage_script(make_plan(render(NEW), LocalTransport(victim.origin)), StageSettings(TOKEN, "anna")).text
    for number, root in victim.each(text):
        assert read(root) == OLD, number
        finish(root)


def stage(victim: Victim, *, way_back: bool) -> Callable[[], str]:
    transport = LocalTransport(victim.origin)
    plan = make_plan(render(NEW), transport)
    transport.run_script(make_stage_script(plan, StageSettings(TOKEN, "anna", way_back=way_back)), deadline_s=30)
    settings = SwitchSettings(TOKEN, "anna", 600 if way_back else None)
    return lambda: make_switch_script(plan, settings).text


def test_killed_at_any_call_of_the_switch_files_are_whole_and_the_next_run_finishes(victim: Victim) -> None:  # T29, T31
    text = stage(victim, way_back=False)()
    for number, root in victim.each(text):
        assert whole(root), number
        before = restarted(root)
        was_new = read(root) == NEW and (root / "var/lib/fleet/started/pacs.service").exists()
        finish(root)
        assert was_new or restarted(root) > before, number  # the reload that was lost is not forgotten


def test_killed_at_any_call_of_an_armed_switch_the_host_finds_its_way(victim: Victim) -> None:  # T29, T31, T33
    text = stage(victim, way_back=True)()
    for number, root in victim.each(text):
        assert whole(root), number
        finish(root)


def test_killed_at_any_call_of_the_way_back_it_finishes_when_run_again(victim: Victim) -> None:  # T29, T31
    LocalTransport(victim.origin).run_text(stage(victim, way_back=True)().encode())
    assert read(victim.origin) == NEW
    program = victim.origin / "var/lib/fleet/revert/run"
    text = program.read_text()
    shutil.rmtree(victim.origin / "run")  # what follows is after a restart
    for number, root in victim.each(text):
        assert whole(root), number
        transport = LocalTransport(root)
        until = 20
        while (window := parse_window_reply(transport.run_script(make_revert_script(TOKEN), deadline_s=30)).window) in {
            Window.ARMED,
            Window.REVERTING,
        }:
            transport.run_text(text.encode())
            until -= 1
            assert until, number
        if victim.how == "one" and window is Window.FAILED:  # a tool of it was killed, and that is told
            assert whole(root), number
        else:
            assert window is Window.REVERTED, number
            assert read(root) == OLD, number
            assert make_plan(render(OLD), transport).is_empty
        finish(root)
    shutil.rmtree(victim.origin / "var/lib/fleet/revert")  # its timer has nothing to wait for any more


def test_killed_at_any_call_of_a_confirmation_it_is_decided_once(victim: Victim) -> None:  # T29
    LocalTransport(victim.origin).run_text(stage(victim, way_back=True)().encode())
    for number, root in victim.each(make_confirm_script(TOKEN).text):
        assert read(root) == NEW, number
        plan = make_plan(render(NEW), LocalTransport(root))
        let_leases_expire(root)
        apply_host(plan, LocalTransport(root), NOW)
        finish(root)
    shutil.rmtree(victim.origin / "var/lib/fleet/revert")
