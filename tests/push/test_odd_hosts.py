"""Hosts that are not like the machine that this was written on: contexts, owners, locales, mounts, userlands."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.inventory.model import Host
from fleet.plan.decide import make_host_plan
from fleet.push.apply import Confirmation, apply_batch, apply_host
from fleet.push.observe import observe_fleet
from fleet.push.outcome import HostOutcome, Outcome
from fleet.push.stage import StageSettings, make_stage_script
from fleet.push.switch import SwitchSettings, make_switch_script
from fleet.push.window import Window, make_revert_script, parse_window_reply
from fleet.render.artifacts import FileCheck, RenderedHost, RenderedService
from tests.push.local_host import LocalConnector, LocalTransport, make_root
from tests.push.scenes import NOW, converge, list_leftovers, make_plan, rendered_file, rendered_host
from tests.push.test_targets import ext4, mounted
from tests.push.userlands import enter_programs, make_program

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="foreign owners, attributes and mounts need root")
CONTEXT = "system_u:object_r:keepalived_etc_t:s0"
FOLDERS = "system_u:object_r:etc_t:s0"
OURS = rendered_file("/etc/keepalived/keepalived.conf", "old\n")


def label(path: Path, context: str) -> None:
    os.setxattr(path, "security.selinux", context.encode() + b"\0")


def read_label(path: Path) -> str:
    return os.getxattr(path, "security.selinux").rstrip(b"\0").decode()


def go_back(root: Path, transport: LocalTransport, rendered: RenderedHost) -> None:
    """Switched, and put back because nobody confirmed."""
    plan = make_plan(rendered, transport)
    transport.run_script(make_stage_script(plan, StageSettings("run-1.aa", "anna", way_back=True)), deadline_s=30)
    transport.run_script(make_switch_script(plan, SwitchSettings("run-1.aa", "anna", 600)), deadline_s=30)
    shutil.rmtree(root / "etc/keepalived/.fleet-stage/old")  # the copy has to do
    script = make_revert_script("run-1.aa")
    seen = {Window.ARMED}
    while seen & {Window.ARMED, Window.REVERTING}:
        seen = {parse_window_reply(transport.run_script(script, deadline_s=30)).window}
    assert seen == {Window.REVERTED}


@needs_root
def test_a_new_file_has_the_context_of_the_old_one(root: Path, local: LocalTransport) -> None:
    assert converge(rendered_host(OURS), local).outcome is Outcome.CONVERGED
    live = root / OURS.path[1:]
    label(live, CONTEXT)
    newer = rendered_host(replace(OURS, content="newer\n"))
    assert converge(newer, local).outcome is Outcome.CONVERGED
    assert (live.read_text(), read_label(live)) == ("newer\n", CONTEXT)
    go_back(root, local, rendered_host(replace(OURS, content="newest\n")))
    assert (live.read_text(), read_label(live)) == ("newer\n", CONTEXT)


@needs_root
def test_a_file_that_was_not_there_has_the_context_of_its_folder(root: Path, local: LocalTransport) -> None:
    (root / "etc/keepalived").mkdir()
    label(root / "etc/keepalived", FOLDERS)
    assert converge(rendered_host(OURS), local).outcome is Outcome.CONVERGED
    assert read_label(root / OURS.path[1:]) == FOLDERS


@needs_root
def test_a_file_that_was_not_there_has_the_context_that_the_policy_gives_its_path(root: Path, tmp_path: Path) -> None:
    make_program(tmp_path / "bin", "matchpathcon", f'[ "$1 $2" = "-n {OURS.path}" ] && echo {CONTEXT}')
    transport = LocalTransport(root, wrapper=enter_programs(tmp_path / "bin"))
    assert converge(rendered_host(OURS), transport).outcome is Outcome.CONVERGED
    assert read_label(root / OURS.path[1:]) == CONTEXT


@needs_root
def test_a_context_that_cannot_be_kept_is_named_and_nothing_live_changes(root: Path, tmp_path: Path) -> None:
    assert converge(rendered_host(OURS), LocalTransport(root)).outcome is Outcome.CONVERGED
    live = root / OURS.path[1:]
    label(live, CONTEXT)
    make_program(tmp_path / "bin", "chcon", "echo 'chcon: failed: Operation not permitted' >&2; exit 1")
    transport = LocalTransport(root, wrapper=enter_programs(tmp_path / "bin"))
    outcome = converge(rendered_host(replace(OURS, content="newer\n")), transport)
    assert (outcome.outcome, outcome.phase) == (Outcome.FAILED, "stage")
    assert "SELinux context" in outcome.detail
    assert (live.read_text(), read_label(live)) == ("old\n", CONTEXT)
    assert list_leftovers(root) == []


@needs_root
def test_an_owner_whom_nobody_knows_is_replaced_and_comes_back(root: Path, local: LocalTransport) -> None:
    assert converge(rendered_host(OURS), local).outcome is Outcome.CONVERGED
    live = root / OURS.path[1:]
    os.chown(live, 4242, 4243)
    go_back(root, local, rendered_host(OURS))
    assert (live.stat().st_uid, live.stat().st_gid) == (4242, 4243)
    assert converge(rendered_host(OURS), local).outcome is Outcome.CONVERGED
    assert (live.stat().st_uid, live.stat().st_gid) == (0, 0)


@needs_root
@pytest.mark.parametrize("tool", ["base64", "sha256sum", "stat"])
def test_a_userland_that_lacks_a_tool_is_told_by_its_name(root: Path, applets: Path, tmp_path: Path, tool: str) -> None:
    shutil.copytree(applets, tmp_path / "bin", symlinks=True)
    (tmp_path / "bin" / tool).unlink()
    mounts = 'for f in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin; do mount -o bind "$0" $f || exit; done'
    wrapper = ("unshare", "--mount", "--propagation", "private", "sh", "-c", f'{mounts}; exec "$@"')
    transport = LocalTransport(root, wrapper=(*wrapper, str(tmp_path / "bin")))
    with pytest.raises(Exception, match=f"the host has no {tool}: install coreutils"):
        make_plan(rendered_host(OURS), transport)
    assert not (root / "var/lib/fleet").exists()


SERVICE = RenderedService("pacs.service", ours=False)


def change_and_fail(root: Path, transport: LocalTransport) -> tuple[HostOutcome, HostOutcome]:
    """From nothing to in place, with a check and a service; then a change that nobody proves."""
    (root / "lib/systemd/system/pacs.service").touch()
    check = FileCheck("looks", 'test -s "$1" && test -d "$2" && case i in [a-z]) true ;; *) false ;; esac')
    file = replace(OURS, check=check, restarts=("pacs.service",))
    first = converge(rendered_host(file, services=(SERVICE,)), transport)
    calls: list[str] = []

    def prove(name: str) -> str:
        calls.append(name)
        return "silent" if len(calls) == 1 else ""

    newer = rendered_host(replace(file, content="newer\n"), services=(SERVICE,))
    trying = replace(NOW, confirmation=Confirmation(30, prove, prove_s=0))
    return first, apply_host(make_plan(newer, transport), transport, trying)


def open_to_all(root: Path) -> None:
    for path in (root, *root.parents):
        if path == Path("/tmp"):
            break
        path.chmod(0o755)


@pytest.fixture
def turkish(tmp_path: Path) -> Path:
    """A locale where the small i is not the capital I, and ranges hold other letters."""
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/locales/tr_TR").exists():
        pytest.skip("the sources of locales are not installed (tests/debian-packages.txt)")
    folder = tmp_path / "locales"
    folder.mkdir()
    command = ["localedef", "--no-archive", "-i", "tr_TR", "-f", "UTF-8", str(folder / "tr_TR.UTF-8")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return folder


@pytest.mark.parametrize("command", [("/bin/sh",), ("bash", "--posix")])
def test_a_host_may_speak_any_language(root: Path, turkish: Path, command: Sequence[str]) -> None:
    words = ("env", f"LOCPATH={turkish}", "LC_ALL=tr_TR.UTF-8", "LANGUAGE=tr", "LANG=tr_TR.UTF-8")
    first, second = change_and_fail(root, LocalTransport(root, command, words))
    assert first.outcome is Outcome.CONVERGED, first
    assert second.outcome is Outcome.ROLLED_BACK, second
    assert (root / OURS.path[1:]).read_text() == "old\n"


@needs_root
def test_processes_that_a_user_may_not_see_do_not_matter(root: Path) -> None:
    """proc(5), hidepid=2: to a plain user other people's processes are not there."""
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(root)], check=True, timeout=10)
    open_to_all(root)
    user = f"--reuid={NOBODY} --regid={NOBODY} --clear-groups"
    script = f'mount -t proc -o hidepid=2 proc /proc && exec setpriv {user} "$0" "$@"'
    transport = LocalTransport(root, wrapper=("unshare", "--mount", "--propagation", "private", "sh", "-c", script))
    first, second = change_and_fail(root, transport)
    assert first.outcome is Outcome.CONVERGED, first
    assert second.outcome is Outcome.ROLLED_BACK, second
    assert list_leftovers(root) == []


@needs_root
def test_nothing_but_busybox_is_enough_to_go_back(root: Path, busybox_alone: Sequence[str]) -> None:
    first, second = change_and_fail(root, LocalTransport(root, wrapper=busybox_alone))
    assert first.outcome is Outcome.CONVERGED, first
    assert second.outcome is Outcome.ROLLED_BACK, second
    said = LocalTransport(root, wrapper=busybox_alone).run_text(b"stat --help 2>&1; mv --help 2>&1\n")
    assert said.stdout.count(b"BusyBox") == 2
    assert list_leftovers(root) == []


def _read_only(root: Path, stack: ExitStack) -> None:
    stack.enter_context(mounted(root / "etc/keepalived", "ro"))


def _full(root: Path, stack: ExitStack) -> None:
    stack.enter_context(mounted(root / "etc/keepalived", "size=8k"))
    (root / "etc/keepalived/filler").write_bytes(b"x" * 8192)


def _without_inodes(root: Path, stack: ExitStack) -> None:
    stack.enter_context(mounted(root / "etc/keepalived", "nr_inodes=1"))


def _immutable(root: Path, stack: ExitStack) -> None:
    stack.enter_context(ext4(root / "etc/keepalived", root.parent / f"{root.name}.image"))
    subprocess.run(["chattr", "+i", str(root / "etc/keepalived")], check=True, timeout=10)


def _link(root: Path, _stack: ExitStack) -> None:
    (root / OURS.path[1:]).symlink_to(root / "etc/elsewhere")


def _folder(root: Path, _stack: ExitStack) -> None:
    (root / OURS.path[1:]).mkdir()


def _nobody_of_that_name(root: Path, _stack: ExitStack) -> None:
    (root / "etc/passwd").write_text("games:x:5:60::/:/bin/sh\n")


def _no_such_group(root: Path, _stack: ExitStack) -> None:
    (root / "etc/group").write_text("games:x:60:\n")


def _no_such_unit(root: Path, _stack: ExitStack) -> None:
    (root / "lib/systemd/system/pacs.service").unlink()


def _masked(root: Path, _stack: ExitStack) -> None:
    (root / "units").mkdir()
    (root / "units/pacs.service.masked").touch()


def _no_systemctl(root: Path, _stack: ExitStack) -> None:
    (root / "usr/bin/systemctl").unlink()


ODD: dict[str, tuple[Callable[[Path, ExitStack], None], Outcome, str]] = {
    "read-only": (_read_only, Outcome.FAILED, "the filesystem is read-only"),
    "full": (_full, Outcome.FAILED, "the disk is full"),
    "without-inodes": (_without_inodes, Outcome.FAILED, "the disk is full"),
    "immutable": (_immutable, Outcome.FAILED, "not permitted (an immutable file"),
    "link": (_link, Outcome.REFUSED, "symbolic link"),
    "folder": (_folder, Outcome.REFUSED, "folder"),
    "no-user": (_nobody_of_that_name, Outcome.REFUSED, "user root"),
    "no-group": (_no_such_group, Outcome.REFUSED, "group root"),
    "no-unit": (_no_such_unit, Outcome.REFUSED, "pacs.service"),
    "masked-unit": (_masked, Outcome.REFUSED, "pacs.service"),
    "no-systemctl": (_no_systemctl, Outcome.REFUSED, "systemctl"),
}


@needs_root
def test_every_odd_host_ends_by_itself_and_the_others_go_on(tmp_path: Path) -> None:  # T26, T28
    names = ["first", *ODD, "last"]
    roots: dict[str, Path] = {}
    rendered = RenderedHost("", (replace(OURS, restarts=("pacs.service",)),), (SERVICE,))
    with ExitStack() as stack:
        for name in names:
            (tmp_path / name).mkdir()
            roots[name] = make_root(tmp_path / name)
            (roots[name] / "etc/keepalived").mkdir()
            (roots[name] / "lib/systemd/system/pacs.service").touch()
            if name in ODD:
                ODD[name][0](roots[name], stack)
        connector = LocalConnector(roots)
        pairs = [(Host(name, "127.0.0.1", "n"), replace(rendered, host=name)) for name in names]
        readings = observe_fleet(pairs, connector)
        plans = []
        for (host, wanted), reading in zip(pairs, readings, strict=True):
            assert reading.observed is not None, reading
            plans.append((host, make_host_plan(wanted, reading.observed, adopt=False)))
        outcomes = {each.host: each for each in apply_batch(plans, connector, NOW)}
        for name, (_, outcome, told) in ODD.items():
            assert outcomes[name].outcome is outcome, outcomes[name]
            assert told in outcomes[name].detail, outcomes[name]
            live = roots[name] / OURS.path[1:]
            assert live.is_symlink() or not live.is_file()
            assert not (roots[name] / "etc/elsewhere").exists()
            assert list_leftovers(roots[name]) == []
        for name in ("first", "last"):
            assert outcomes[name].outcome is Outcome.CONVERGED
            assert (roots[name] / OURS.path[1:]).read_text() == OURS.content
