"""The scripts, run for real by every shell that a host's /bin/sh may be, and with nothing but busybox."""

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from fleet.plan.steps import CleanLeftover, RestartUnit, RunHandler, WriteReason
from fleet.push.apply import apply_host
from fleet.push.observe import observe_host
from fleet.push.outcome import Outcome
from fleet.push.stage import make_stage_script
from fleet.push.switch import make_switch_script
from fleet.render.artifacts import FileCheck, FolderNeed, Needs, RenderedHost, RenderedService, make_program
from tests.push.local_host import LocalTransport
from tests.push.scenes import converge, list_leftovers, make_plan, rendered_file, rendered_host

UNIT = rendered_file("/etc/systemd/system/pacs.service", "[Service]\nExecStart=/x\n", restarts=("pacs.service",))
CONF = rendered_file(content="HostTable BEGIN\n" * 100, mode=0o640, restarts=("pacs.service",))
SERVICE = RenderedService("pacs.service", ours=True)
SYSTEM = rendered_host(UNIT, CONF, services=(SERVICE,))


@pytest.fixture
def transport(root: Path, userland: tuple[Sequence[str], Sequence[str]]) -> LocalTransport:
    wrapper, shell = userland
    return LocalTransport(root, shell, wrapper)


def log(root: Path) -> list[str]:
    path = root / "units/log"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line for line in lines if not line.startswith(("show", "reset-failed"))]


def test_from_nothing_to_a_running_service_and_back(transport: LocalTransport, root: Path) -> None:
    assert converge(SYSTEM, transport).outcome is Outcome.CONVERGED
    assert (root / CONF.path[1:]).read_text() == CONF.content
    assert (root / CONF.path[1:]).stat().st_mode & 0o7777 == 0o640
    assert log(root) == ["daemon-reload ", "enable pacs.service", "start pacs.service"]
    assert converge(SYSTEM, transport).outcome is Outcome.UNCHANGED
    assert converge(RenderedHost("north-1"), transport).outcome is Outcome.CONVERGED
    assert not (root / CONF.path[1:]).exists()
    assert not (root / UNIT.path[1:]).exists()
    assert log(root) == ["disable pacs.service", "daemon-reload "]
    assert list_leftovers(root) == []


def test_a_file_edited_by_hand_is_restored_and_the_edit_is_kept(transport: LocalTransport, root: Path) -> None:  # T43
    converge(SYSTEM, transport)
    live = root / CONF.path[1:]
    live.write_text("edited\n")
    live.chmod(0o666)
    log(root)
    assert converge(SYSTEM, transport).outcome is Outcome.CONVERGED
    assert live.read_text() == CONF.content
    assert live.stat().st_mode & 0o7777 == 0o640
    assert (root / "var/lib/fleet/previous" / CONF.path[1:]).read_text() == "edited\n"
    assert log(root) == ["restart pacs.service"]


def test_an_adopted_file_is_kept_for_good(transport: LocalTransport, root: Path) -> None:  # T43
    live = root / CONF.path[1:]
    live.parent.mkdir()
    live.write_text("somebody's own\n")
    refused = converge(rendered_host(CONF), transport)
    assert (refused.outcome, refused.phase) == (Outcome.REFUSED, "plan")
    assert live.read_text() == "somebody's own\n"


def test_an_adopted_original_survives_later_changes(transport: LocalTransport, root: Path) -> None:  # T43
    file = rendered_file()
    live = root / file.path[1:]
    live.parent.mkdir()
    live.write_text("somebody's own\n")
    assert converge(rendered_host(file), transport, adopt=True).outcome is Outcome.CONVERGED
    assert converge(rendered_host(rendered_file(content="newer\n")), transport).outcome is Outcome.CONVERGED
    original = root / "var/lib/fleet/originals" / file.path[1:]
    assert original.read_text() == "somebody's own\n"
    assert (root / "var/lib/fleet/originals").stat().st_mode & 0o7777 == 0o700


def test_a_team_handler_runs_once_for_two_files(transport: LocalTransport, root: Path) -> None:
    command = 'echo "it\'s done" >>"$FLEET_ROOT/handled"'
    files = [rendered_file(f"/etc/nagios/{name}.cfg", handler=command) for name in "ab"]
    assert converge(rendered_host(*files), transport).outcome is Outcome.CONVERGED
    assert (root / "handled").read_text() == "it's done\n"
    assert converge(rendered_host(*files), transport).outcome is Outcome.UNCHANGED


def test_a_handler_that_failed_is_owed(transport: LocalTransport, root: Path) -> None:
    command = 'test -e "$FLEET_ROOT/ready" || { echo "not ready"; exit 3; }'
    rendered = rendered_host(rendered_file(handler=command))
    failed = converge(rendered, transport)
    assert (failed.outcome, failed.phase) == (Outcome.FAILED, "handler")
    assert "exit status 3" in failed.detail
    assert failed.evidence == "not ready"
    (root / "ready").touch()
    again = make_plan(rendered, transport)
    assert [type(step) for step in again.steps] == [RunHandler]
    assert converge(rendered, transport).outcome is Outcome.CONVERGED


def test_a_restart_that_failed_is_owed(transport: LocalTransport, root: Path) -> None:
    converge(SYSTEM, transport)
    (root / "units/pacs.service.fails-to-restart").touch()
    changed = rendered_host(UNIT, rendered_file(restarts=("pacs.service",)), services=(SERVICE,))
    assert converge(changed, transport).phase == "handler"
    (root / "units/pacs.service.fails-to-restart").unlink()
    assert [type(step) for step in make_plan(changed, transport).steps] == [RestartUnit]
    assert converge(changed, transport).outcome is Outcome.CONVERGED


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ("echo 'line 3: nonsense'; exit 1", "says that the file is bad (exit status 1)"),
        ("exit 75", "could not tell whether the file is good (exit status 75)"),
        ("kill -TERM $$", "could not tell whether the file is good (exit status 143)"),
        ("kill -SEGV $$", "could not tell whether the file is good (exit status 139)"),
    ],
)
def test_a_product_that_refuses_or_dies_stops_the_host(  # T34
    transport: LocalTransport, root: Path, script: str, verdict: str
) -> None:
    rendered = rendered_host(rendered_file(check=FileCheck("keepalived -t", script)), rendered_file("/etc/other.cfg"))
    outcome = converge(rendered, transport)
    assert (outcome.outcome, outcome.phase) == (Outcome.FAILED, "check")
    assert f"/etc/dcmtk/dcmqrscp.cfg: keepalived -t {verdict}" in outcome.detail
    assert "no live file was touched" in outcome.detail
    assert "nonsense" not in outcome.detail  # what a product prints may hold secrets
    assert not (root / "etc/dcmtk").exists()
    assert not (root / "etc/other.cfg").exists()
    assert list_leftovers(root) == []


def test_a_check_sees_the_staged_file_and_a_private_folder(transport: LocalTransport, root: Path) -> None:
    check = FileCheck("looks", 'grep -q new "$1" && test -d "$2" && test ! -e "$FLEET_ROOT/etc/dcmtk/dcmqrscp.cfg"')
    assert converge(rendered_host(rendered_file(check=check)), transport).outcome is Outcome.CONVERGED


def test_what_a_host_lacks_is_named_before_the_first_write(transport: LocalTransport, root: Path) -> None:
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    file = rendered_file(owner="dcmtk:dcmtk")
    needs = Needs(("dcmqrscp", "/usr/sbin/keepalived", "systemctl"), ("root",), ())
    outcome = converge(RenderedHost("north-1", (file,), (), needs), transport)
    assert outcome.outcome is Outcome.REFUSED
    for word in ("program dcmqrscp", "program /usr/sbin/keepalived", "user dcmtk", "group dcmtk"):
        assert word in outcome.detail
    assert "systemctl" not in outcome.detail
    assert list((root / "var/lib").iterdir()) == []


def test_storage_folders_are_made_and_never_removed(transport: LocalTransport, root: Path) -> None:
    needs = Needs(folders=(FolderNeed("/srv/pacs/store", "root:root", 0o700),))
    assert converge(RenderedHost("north-1", needs=needs), transport).outcome is Outcome.CONVERGED
    assert (root / "srv/pacs/store").stat().st_mode & 0o7777 == 0o700
    assert converge(RenderedHost("north-1"), transport).outcome is Outcome.UNCHANGED
    assert (root / "srv/pacs/store").is_dir()


def test_a_file_that_moved_on_since_the_plan_is_stale(transport: LocalTransport, root: Path) -> None:  # T32
    converge(SYSTEM, transport)
    live = root / CONF.path[1:]
    live.write_text("edited\n")
    plan = make_plan(SYSTEM, transport)
    live.write_text("edited again\n")
    outcome = apply_host(plan, transport)
    assert outcome.outcome is Outcome.STALE
    assert CONF.path in outcome.detail
    assert live.read_text() == "edited again\n"
    assert list_leftovers(root) == []


def test_contents_travel_as_they_are(transport: LocalTransport, root: Path) -> None:
    text = "quote ' \" ` $(id) $HOME \\ % \t ü € \x01 FLEET_EOF\nFLEET_EOF\n\n\n" + "x" * 5000 + "\n"
    assert (
        converge(rendered_host(rendered_file(content=text), rendered_file("/etc/empty", "")), transport).outcome
        is Outcome.CONVERGED
    )
    assert (root / "etc/dcmtk/dcmqrscp.cfg").read_text() == text
    assert (root / "etc/empty").read_bytes() == b""


def test_what_not_everybody_may_read_is_no_word_of_a_script(transport: LocalTransport) -> None:  # T39
    files = (
        rendered_file("/etc/a.conf", "for everybody\n"),
        rendered_file("/etc/b.conf", "for one group\n", mode=0o640),
        rendered_file("/etc/c.conf", "pass canary\n", secrets=((5, 11),)),
    )
    text = make_stage_script(make_plan(rendered_host(*files), transport)).text
    assert ("for everybody" in text, "for one group" in text, "canary" in text) == (True, False, False)
    assert converge(rendered_host(*files), transport).outcome is Outcome.CONVERGED


def test_a_large_file_arrives_whole(transport: LocalTransport, root: Path) -> None:
    text = "".join(f"peer {number}\n" for number in range(150_000))
    assert converge(rendered_host(rendered_file(content=text)), transport).outcome is Outcome.CONVERGED
    assert (root / "etc/dcmtk/dcmqrscp.cfg").read_text() == text


def test_a_run_that_was_cut_off_is_cleaned_up_by_the_next(transport: LocalTransport, root: Path) -> None:  # T25
    rendered = rendered_host(rendered_file())
    plan = make_plan(rendered, transport)
    staged = make_stage_script(plan).text
    assert "\nstage_end 20\n" in staged
    transport.run_text(staged.replace("\nstage_end 20\n", "\nexit 1\n").encode())
    assert list_leftovers(root) != []
    again = make_plan(rendered, transport)
    assert CleanLeftover() in again.steps
    # Even where nothing else is left to do.
    shutil.rmtree(root / "etc/dcmtk/.fleet-stage/new")
    assert converge(RenderedHost("north-1"), transport).outcome is Outcome.CONVERGED
    assert list_leftovers(root) == []


def test_a_script_runs_nothing_when_its_end_is_missing(transport: LocalTransport, root: Path) -> None:  # T25
    plan = make_plan(rendered_host(rendered_file()), transport)
    for script in (make_stage_script(plan), make_switch_script(plan)):
        whole = script.text.encode()
        call = whole.rindex(b"\n__run") + 1
        for length in [*range(0, call, 331), *range(call, call + 5)]:
            transport.run_text(whole[:length])
            assert not (root / "var/lib/fleet").exists(), length
            assert not (root / "etc/dcmtk").exists(), length


# proc_net_tcp of a host with an archive on port 11112 (2B68): listening, three callers, one that is leaving, and
# another service's caller on a port whose number the archive's callers come from.
NET_TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:2B68 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0B00140A:2B68 2900140A:8001 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 0B00140A:2B68 2A00140A:8002 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
   3: 0B00140A:2B68 2A00140A:8003 08 00000000:00000000 00:00000000 00000000     0        0 4 1 0 20 4 30 10 -1
   4: 0B00140A:8004 2A00140A:2B68 01 00000000:00000000 00:00000000 00000000     0        0 5 1 0 20 4 30 10 -1
"""
NET_TCP6 = NET_TCP.partition("\n")[0] + (
    "\n   0: 0000000000000000FFFF00000B00140A:2B68 0000000000000000FFFF00002900140A:8005 01 0:0 00:0 0 0\n"
)


def test_open_associations_are_counted_on_the_services_own_ports(transport: LocalTransport, root: Path) -> None:
    service = RenderedService("pacs.service", ours=True, port=11112, drain_s=60.0)
    system = rendered_host(UNIT, CONF, services=(service, RenderedService("store.service", ours=False, port=104)))
    observed = observe_host(system, transport, deadline_s=30)
    assert observed.facts.connections is None, "this host does not tell"
    (root / "proc/net").mkdir(parents=True)
    (root / "proc/net/tcp").write_text(NET_TCP)
    assert observe_host(system, transport, deadline_s=30).facts.connections == {104: 0, 11112: 2}
    (root / "proc/net/tcp6").write_text(NET_TCP6)
    assert observe_host(system, transport, deadline_s=30).facts.connections == {104: 0, 11112: 3}


def test_a_program_of_any_bytes_arrives_whole_once_and_is_replaced_as_a_whole(
    transport: LocalTransport, root: Path
) -> None:
    first, second = (make_program(bytes(range(256)) * 4000 + tail) for tail in (b"\0one", b"\ntwo"))
    path = "/usr/local/lib/dicom-fleet/fleet-relay.pyz"
    for program in (first, second):
        host = rendered_host(rendered_file(path, "", program=program))
        assert converge(host, transport).outcome is Outcome.CONVERGED
        assert (root / path[1:]).read_bytes() == program.content
        (observe, stage, *_) = transport.scripts
        assert len(stage.text) > len(program.content) > len(observe.text)
        seen = observe_host(host, transport, deadline_s=30).files[path]
        assert (seen.digest, seen.content) == (program.digest, None)
        transport.scripts.clear()
        assert converge(host, transport).outcome is Outcome.UNCHANGED
        assert [script.verb for script in transport.scripts] == ["observe"]
        transport.scripts.clear()
    assert list_leftovers(root) == []


def test_a_host_says_which_python_it_has_where_it_is_too_old_or_none(transport: LocalTransport, root: Path) -> None:
    for name, body in (
        ("old", "echo 3.9.2; exit 1"),
        ("new", "echo 3.11.2"),
        ("odd", "echo 'no\npython' >&2; exit 127"),
    ):
        program = root / "usr/bin" / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    pythons = tuple(f"/usr/bin/{name}" for name in ("gone", "new", "odd", "old"))
    host = RenderedHost("north-1", needs=Needs(pythons=pythons))
    seen = observe_host(host, transport, deadline_s=30)
    assert seen.missing.pythons == (("/usr/bin/gone", ""), ("/usr/bin/odd", ""), ("/usr/bin/old", "3.9.2"))


def test_a_relay_that_is_no_longer_wanted_is_asked_what_its_spool_holds(transport: LocalTransport, root: Path) -> None:
    answer = root.parent / "relay-says"
    answer.write_text("echo '3 queued left in /spool'; echo $* >>/dev/stderr; exit 2")
    unit = rendered_file(
        "/etc/systemd/system/fleet-relay-R.service",
        f"[Service]\nExecStart=/bin/sh {answer} run /etc/fleet/relay-R.json\nExecReload=/bin/true\n",
    )
    host = rendered_host(unit, services=(RenderedService("fleet-relay-R.service", ours=True),))
    assert converge(host, transport).outcome is Outcome.CONVERGED
    assert observe_host(host, transport, deadline_s=30).undelivered == {}
    refused = converge(RenderedHost("north-1"), transport)
    assert refused.outcome is Outcome.REFUSED
    assert "3 queued left in /spool | left /etc/fleet/relay-R.json" in refused.detail
    assert (root / unit.path[1:]).exists()
    answer.write_text("exit 0")
    assert converge(RenderedHost("north-1"), transport).outcome is Outcome.CONVERGED
    assert not (root / unit.path[1:]).exists()


def test_a_script_that_others_may_write_is_drift_and_becomes_root_s_again(
    transport: LocalTransport, root: Path
) -> None:
    """keepalived runs it: who can write it would be who it runs as. T41"""
    script = rendered_host(rendered_file("/usr/local/lib/fleet/check-echo", "#!/bin/sh\n", mode=0o755))
    assert converge(script, transport).outcome is Outcome.CONVERGED
    path = root / "usr/local/lib/fleet/check-echo"
    for mode in (0o757, 0o775, 0o4755):
        path.chmod(mode)
        (write,) = make_plan(script, transport).writes
        assert (write.reason, write.before.mode if write.before else None) == (WriteReason.MODE, mode)
        assert converge(script, transport).outcome is Outcome.CONVERGED
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    if os.getuid() == 0:
        os.chown(path, 65534, 65534)
        assert [write.reason for write in make_plan(script, transport).writes] == [WriteReason.MODE]
