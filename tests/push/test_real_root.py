"""The same scripts with nothing before their paths, as on a real host: in a mount namespace of its own whose
/srv, /var/lib and /run are folders of the test."""

import os
import pwd
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.plan.decide import make_host_plan
from fleet.plan.question import make_question
from fleet.push.apply import Confirmation, apply_host
from fleet.push.observe import make_observe_script, observe_host
from fleet.push.outcome import Outcome
from fleet.push.reading import parse_observation
from fleet.push.script import Script
from fleet.push.transport import CommandResult
from fleet.render.artifacts import FileCheck, FolderNeed, Needs, RenderedHost
from tests.push.local_host import LocalTransport
from tests.push.scenes import NOW, rendered_file

MOUNTS = 'mount --bind "$0/srv" /srv && mount --bind "$0/lib" /var/lib && mount --bind "$0/run" /run'
NAMESPACE = f"{MOUNTS} && exec /bin/sh -s"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")


class BareTransport(LocalTransport):
    """No FLEET_ROOT: paths are what they say."""

    namespace = NAMESPACE

    def run_script(self, script: Script, **_more: object) -> CommandResult:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", self.namespace, str(self.root)]
        done = subprocess.run(command, input=script.text.encode(), capture_output=True, timeout=30, check=False)
        return CommandResult(done.returncode, done.stdout, done.stderr)


@needs_root
def test_a_real_root_is_brought_to_what_was_rendered_and_back(tmp_path: Path) -> None:
    for name in ("srv", "lib", "run"):
        (tmp_path / name).mkdir()
    transport = BareTransport(tmp_path)
    owner = pwd.getpwuid(65534).pw_name + ":" + "nogroup"
    files = (
        rendered_file("/srv/app/a.conf", "a\n", mode=0o600, owner=owner, check=FileCheck("looks", 'grep -q a "$1"')),
        rendered_file("/srv/top.conf", "b\n", handler="touch /srv/handled"),
    )
    needs = Needs(("sh", "/usr/bin/env"), ("root",), (FolderNeed("/srv/store", owner, 0o750),))
    rendered = RenderedHost("here", files, (), needs)
    plan = make_host_plan(rendered, observe_host(rendered, transport, deadline_s=30), adopt=False)
    assert plan.problems == ()
    assert apply_host(plan, transport, NOW).outcome is Outcome.CONVERGED
    written = tmp_path / "srv/app/a.conf"
    assert (written.read_text(), written.stat().st_uid, written.stat().st_mode & 0o7777) == ("a\n", 65534, 0o600)
    assert (tmp_path / "srv/store").stat().st_uid == 65534
    assert (tmp_path / "srv/handled").exists()
    assert (tmp_path / "lib/fleet/manifest").exists()
    os.chown(written, 0, 0)
    again = make_host_plan(rendered, observe_host(rendered, transport, deadline_s=30), adopt=False)
    assert [write.path for write in again.writes] == ["/srv/app/a.conf"]
    gone = RenderedHost("here")
    plan = make_host_plan(gone, observe_host(gone, transport, deadline_s=30), adopt=False)
    assert apply_host(plan, transport, NOW).outcome is Outcome.CONVERGED
    assert sorted(path.name for path in (tmp_path / "srv").rglob("*")) == ["app", "handled", "store"]


@needs_root
def test_a_real_root_lacks_what_it_lacks(tmp_path: Path) -> None:
    for name in ("srv", "lib", "run"):
        (tmp_path / name).mkdir()
    needs = Needs(("sh", "no-such-program", "/opt/no/such"), ("root", "no-such-user"))
    question = replace(make_question(RenderedHost("here", (), (), needs)), ports=(1,))
    seen = parse_observation("here", question, BareTransport(tmp_path).run_script(make_observe_script(question)))
    assert seen.missing.programs == ("/opt/no/such", "no-such-program")
    assert seen.missing.users == ("no-such-user",)
    assert seen.facts.listening is not None


class NoexecTransport(BareTransport):
    """Nothing that lies in a temporary folder can be started."""

    namespace = f"{MOUNTS} && mount -t tmpfs -o noexec tmpfs /tmp && exec /bin/sh -s"


@needs_root
def test_a_temporary_folder_from_which_nothing_starts_is_no_hindrance(tmp_path: Path) -> None:
    for name in ("srv", "lib", "run"):
        (tmp_path / name).mkdir()
    transport = NoexecTransport(tmp_path)
    check = FileCheck("looks", 'test -s "$1" && cp "$1" "$2/copy" && test ! -x /tmp/anything')
    file = rendered_file("/srv/a.conf", "a\n", check=check, handler="touch /srv/handled")
    rendered = RenderedHost("here", (file,))
    plan = make_host_plan(rendered, observe_host(rendered, transport, deadline_s=30), adopt=False)
    assert apply_host(plan, transport, NOW).outcome is Outcome.CONVERGED
    assert (tmp_path / "srv/handled").exists()


@needs_root
def test_without_systemd_there_is_no_way_back_and_nothing_is_written_unless_told(tmp_path: Path) -> None:  # T33
    for name in ("srv", "lib", "run"):
        (tmp_path / name).mkdir()
    transport = BareTransport(tmp_path)
    rendered = RenderedHost("here", (rendered_file("/srv/a.conf", "a\n"),))
    plan = make_host_plan(rendered, observe_host(rendered, transport, deadline_s=30), adopt=False)
    trying = replace(NOW, confirmation=Confirmation(30, prove_s=0))
    refused = apply_host(plan, transport, trying)
    assert (refused.outcome, refused.phase) == (Outcome.REFUSED, "lock")
    assert "no systemd" in refused.detail
    assert "nothing was written" in refused.detail
    assert list((tmp_path / "srv").iterdir()) == []
    told = replace(NOW, confirmation=Confirmation(30, prove_s=0, without_way_back=True))
    assert apply_host(plan, transport, told).outcome is Outcome.CONVERGED
    assert (tmp_path / "srv/a.conf").read_text() == "a\n"
