"""The host's side killed between any two actions of the switch: files are wholly old or wholly new, and the
next run finishes the work, the restart that was lost included (T29, T31)."""

import shutil
from pathlib import Path

import pytest

from fleet.push.outcome import Outcome
from fleet.push.script import Script
from fleet.push.stage import make_stage_script
from fleet.push.switch import make_switch_script
from fleet.push.transport import CommandResult
from fleet.render.artifacts import RenderedHost, RenderedService
from tests.push.local_host import LocalTransport
from tests.push.scenes import converge, let_leases_expire, list_leftovers, make_plan, rendered_file, rendered_host

SERVICE = RenderedService("pacs.service", ours=False)
OLD = {"/etc/a/one.cfg": "old one\n", "/etc/b/two.cfg": "old two\n", "/etc/b/gone.cfg": "old gone\n"}
NEW = {"/etc/a/one.cfg": "new one\n", "/etc/b/two.cfg": "new two\n", "/etc/c/three.cfg": "new three\n"}


def render(contents: dict[str, str]) -> RenderedHost:
    files = [rendered_file(path, content, restarts=("pacs.service",)) for path, content in contents.items()]
    return rendered_host(*files, services=(SERVICE,))


def read(root: Path) -> dict[str, str]:
    paths = {*OLD, *NEW}
    return {path: (root / path[1:]).read_text() for path in paths if (root / path[1:]).exists()}


def list_cuts(script: Script) -> list[int]:
    """Positions in the text between two calls of `__run`."""
    start = script.text.index("\n__run() {\n") + len("\n__run() {\n")
    stop = script.text.rindex("\n}\n__run")
    cuts, position, inside, quoted = [start], start, False, False
    for line in script.text[start:stop].split("\n"):
        position += len(line) + 1
        inside = line.endswith("<<'FLEET_EOF'") or (inside and line != "FLEET_EOF")
        # A file's text, or the way back as a program, is one word of many lines.
        quoted ^= not inside and line.replace("'\"'\"'", "").count("'") % 2 == 1
        if not inside and not quoted:
            cuts.append(position)
    return cuts


@pytest.fixture
def old(root: Path) -> Path:
    """A host that is as the old inventory wants it."""
    (root / "lib/systemd/system/pacs.service").touch()
    assert converge(render(OLD), LocalTransport(root)).outcome is Outcome.CONVERGED
    return root


def test_killed_between_any_two_actions_of_the_switch(old: Path, tmp_path: Path) -> None:  # T29, T31
    cuts = list_cuts(make_switch_script(make_plan(render(NEW), LocalTransport(old))))
    assert len(cuts) > 15
    for number, cut in enumerate(cuts):
        root = tmp_path / f"host-{number}"
        shutil.copytree(old, root, symlinks=True)
        transport = LocalTransport(root)
        plan = make_plan(render(NEW), transport)
        transport.run_script(make_stage_script(plan), deadline_s=30)
        text = make_switch_script(plan).text
        killed = transport.run_text((text[:cut] + "kill -9 $$\n" + text[cut:]).encode())
        assert killed.status == -9
        now = read(root)
        assert all(now.get(path) in {OLD.get(path), NEW.get(path)} for path in {*OLD, *NEW}), number
        (root / "units/log").unlink(missing_ok=True)
        let_leases_expire(root)
        restarts_before = (root / "var/lib/fleet/started/pacs.service").exists()
        was_new = now == NEW and restarts_before
        assert converge(render(NEW), transport).outcome in {Outcome.CONVERGED, Outcome.UNCHANGED}
        assert read(root) == NEW
        restarted = "restart pacs.service" in (root / "units/log").read_text()
        assert restarted or was_new, number
        assert make_plan(render(NEW), transport).is_empty
        assert list_leftovers(root) == []


def test_killed_anywhere_while_staging_nothing_live_has_changed(old: Path, tmp_path: Path) -> None:  # T25, T29
    for number, cut in enumerate(list_cuts(make_stage_script(make_plan(render(NEW), LocalTransport(old))))):
        root = tmp_path / f"host-{number}"
        shutil.copytree(old, root, symlinks=True)
        transport = LocalTransport(root)
        text = make_stage_script(make_plan(render(NEW), transport)).text
        transport.run_text((text[:cut] + "kill -9 $$\n" + text[cut:]).encode())
        assert read(root) == OLD
        let_leases_expire(root)
        assert converge(render(NEW), transport).outcome is Outcome.CONVERGED
        assert list_leftovers(root) == []


def test_a_rename_that_fails_puts_the_earlier_ones_back(old: Path) -> None:  # T31
    class Saboteur(LocalTransport):
        """After staging, a folder appears where the last file belongs."""

        def run_script(self, script: Script, **_more: object) -> CommandResult:
            if script.verb == "switch":
                call = "\nrename_files /etc/c "
                text = script.text.replace(call, f'\nmkdir "$root/etc/c/three.cfg"{call}')
                assert text != script.text
                return self.run_text(text.encode())
            return super().run_script(script, deadline_s=30)

    transport = Saboteur(old)
    before = (old / "var/lib/fleet/manifest").read_text()
    started = (old / "var/lib/fleet/started/pacs.service").read_text()
    outcome = converge(render(NEW), transport)
    assert (outcome.outcome, outcome.phase) == (Outcome.FAILED, "switch")
    assert "everything was put back" in outcome.detail
    (old / "etc/c/three.cfg").rmdir()
    assert read(old) == OLD
    assert (old / "var/lib/fleet/manifest").read_text() == before
    assert (old / "var/lib/fleet/started/pacs.service").read_text() == started
    assert converge(render(NEW), LocalTransport(old)).outcome is Outcome.CONVERGED
