"""Targets as they are: full disks, read-only filesystems, symbolic and hard links, short writes."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.push.outcome import Outcome
from fleet.push.script import Script
from fleet.push.transport import CommandResult
from tests.push.local_host import LocalTransport
from tests.push.scenes import converge, list_leftovers, make_plan, rendered_file, rendered_host

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and foreign owners need root")


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, timeout=10)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=10)


@pytest.fixture
def live(root: Path, local: LocalTransport) -> Path:
    """A file of ours that is in place."""
    converge(rendered_host(rendered_file("/etc/dcmtk/small.cfg", "old\n")), local)
    return root / "etc/dcmtk/small.cfg"


@needs_root
@pytest.mark.parametrize("options", ["size=64k", "nr_inodes=5"])
def test_a_full_disk_is_named_and_nothing_live_changes(root: Path, local: LocalTransport, options: str) -> None:  # T26
    folder = root / "etc/dcmtk"
    folder.mkdir()
    with mounted(folder, options):
        old = rendered_file("/etc/dcmtk/a.cfg", "old\n")
        assert converge(rendered_host(old), local).outcome is Outcome.CONVERGED
        files = [rendered_file(f"/etc/dcmtk/{name}.cfg", "x" * 40_000 + "\n") for name in "abc"]
        outcome = converge(rendered_host(*files), local)
        assert (outcome.outcome, outcome.phase) == (Outcome.FAILED, "stage")
        assert "disk is full" in outcome.detail
        assert (folder / "a.cfg").read_text() == "old\n"
        assert sorted(path.name for path in folder.iterdir()) == ["a.cfg"]
        assert converge(rendered_host(old), local).outcome is Outcome.UNCHANGED


@needs_root
def test_a_full_state_folder_is_named_and_nothing_live_changes(root: Path, local: LocalTransport) -> None:  # T26
    state = root / "var/lib/fleet"
    state.mkdir()
    state.chmod(0o755)
    with mounted(state, "size=8k,mode=755"):
        (state / "filler").write_bytes(b"x" * 8192)
        outcome = converge(rendered_host(rendered_file()), local)
        assert outcome.outcome is Outcome.FAILED
        assert "disk is full" in outcome.detail
        assert not (root / "etc/dcmtk/dcmqrscp.cfg").exists()


@needs_root
def test_a_read_only_filesystem_is_named(root: Path, local: LocalTransport) -> None:  # T26
    folder = root / "etc/dcmtk"
    folder.mkdir()
    with mounted(folder, "ro"):
        outcome = converge(rendered_host(rendered_file(), rendered_file("/etc/other.cfg")), local)
        assert (outcome.outcome, outcome.phase) == (Outcome.FAILED, "stage")
        assert "filesystem is read-only" in outcome.detail
        assert not (root / "etc/other.cfg").exists()


@contextmanager
def ext4(folder: Path, image: Path) -> Iterator[None]:
    """A filesystem that knows immutable files, whatever the temporary folder lies on."""
    with image.open("wb") as file:
        file.truncate(8 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, timeout=20, env={"PATH": "/usr/sbin:/sbin"})
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-R", "-i", str(folder)], check=False, timeout=10, capture_output=True)
        subprocess.run(["umount", str(folder)], check=True, timeout=10)


@needs_root
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_immutable_is_a_failure_that_puts_everything_back(
    root: Path, local: LocalTransport, tmp_path: Path, what: str
) -> None:
    folder = root / "etc/dcmtk"
    folder.mkdir()
    with ext4(folder, tmp_path / "image"):
        assert (
            converge(rendered_host(rendered_file("/etc/dcmtk/small.cfg", "old\n")), local).outcome is Outcome.CONVERGED
        )
        frozen = folder / "small.cfg" if what == "file" else folder
        subprocess.run(["chattr", "+i", str(frozen)], check=True, timeout=10)
        rendered = rendered_host(rendered_file("/etc/a.cfg"), rendered_file("/etc/dcmtk/small.cfg"))
        outcome = converge(rendered, local)
        assert outcome.outcome is Outcome.FAILED
        assert "not permitted (an immutable file" in outcome.detail
        assert (folder / "small.cfg").read_text() == "old\n"
        assert not (root / "etc/a.cfg").exists()
        subprocess.run(["chattr", "-i", str(frozen)], check=True, timeout=10)
        assert converge(rendered, local).outcome is Outcome.CONVERGED
        assert list_leftovers(root) == []


@pytest.mark.parametrize("last", ["", "ü"])  # plain text is a word of the script, anything else base64
def test_what_arrived_short_never_goes_live(root: Path, local: LocalTransport, live: Path, last: str) -> None:  # T27
    class Losing(LocalTransport):
        """Loses a line's worth of the contents, and nobody reports an error."""

        def run_script(self, script: Script, **_more: object) -> CommandResult:
            if script.verb != "stage":
                return super().run_script(script, deadline_s=30)
            start = script.text.index("\nstage_bytes " if last else "\nstage_text ")
            first = script.text.index("\n" if last else "xxx", start + 1)
            return self.run_text((script.text[:first] + script.text[first + 77 :]).encode())

    rendered = rendered_host(rendered_file("/etc/dcmtk/small.cfg", "x" * 1000 + last + "\n"))
    outcome = converge(rendered, Losing(root))
    assert (outcome.outcome, outcome.phase) == (Outcome.FAILED, "stage")
    assert "short write" in outcome.detail
    assert live.read_text() == "old\n"
    assert list_leftovers(root) == []


def test_a_symbolic_link_at_our_path_is_refused(root: Path, local: LocalTransport) -> None:  # T28
    victim = root / "etc/shadow"
    victim.write_text("secret\n")
    (root / "etc/dcmtk").mkdir()
    (root / "etc/dcmtk/dcmqrscp.cfg").symlink_to(victim)
    outcome = converge(rendered_host(rendered_file()), local, adopt=True)
    assert outcome.outcome is Outcome.REFUSED
    assert "symbolic link" in outcome.detail
    assert victim.read_text() == "secret\n"


def test_a_hard_link_at_our_path_is_replaced_and_its_other_name_is_untouched(
    root: Path, local: LocalTransport
) -> None:  # T28
    victim = root / "etc/shadow"
    victim.write_text("secret\n")
    (root / "etc/dcmtk").mkdir()
    (root / "etc/dcmtk/dcmqrscp.cfg").hardlink_to(victim)
    step = make_plan(rendered_host(rendered_file()), local).writes[0]
    assert step.before is not None
    assert step.before.content is None  # whose content it is, nobody knows: it is not shown
    assert converge(rendered_host(rendered_file()), local, adopt=True).outcome is Outcome.CONVERGED
    assert victim.read_text() == "secret\n"
    assert (root / "etc/dcmtk/dcmqrscp.cfg").read_text() == "new\n"


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_at_our_path_is_refused(root: Path, local: LocalTransport, kind: str) -> None:  # T28
    path = root / "etc/x.cfg"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    assert converge(rendered_host(rendered_file("/etc/x.cfg")), local, adopt=True).outcome is Outcome.REFUSED


@needs_root
def test_a_folder_that_somebody_else_linked_is_refused(root: Path, local: LocalTransport) -> None:  # T28
    (root / "etc/real").mkdir()
    link = root / "etc/dcmtk"
    link.symlink_to(root / "etc/real")
    assert converge(rendered_host(rendered_file()), local).outcome is Outcome.CONVERGED  # root's own link
    os.lchown(link, NOBODY, NOBODY)
    outcome = converge(rendered_host(rendered_file(content="newer\n")), local)
    assert outcome.outcome is Outcome.REFUSED
    assert "not only root could have made" in outcome.detail


def _make_link(stage: Path) -> None:
    (stage.parent / "elsewhere").mkdir(mode=0o700)
    stage.symlink_to(stage.parent / "elsewhere")


def _make_foreign(stage: Path) -> None:
    stage.mkdir(mode=0o700)
    os.chown(stage, NOBODY, NOBODY)


def _make_open(stage: Path) -> None:
    stage.mkdir()
    stage.chmod(0o777)


@needs_root
@pytest.mark.parametrize("prepare", [_make_link, _make_foreign, _make_open])
def test_a_staging_folder_that_was_made_beforehand_is_refused(  # T28
    root: Path, local: LocalTransport, prepare: Callable[[Path], None]
) -> None:
    (root / "etc/dcmtk").mkdir()
    prepare(root / "etc/dcmtk/.fleet-stage")
    outcome = converge(rendered_host(rendered_file()), local)
    assert (outcome.outcome, outcome.phase) == (Outcome.FAILED, "stage")
    assert not (root / "etc/dcmtk/dcmqrscp.cfg").exists()


@needs_root
def test_somebody_who_owns_the_folder_gains_nothing_by_swapping_names(root: Path, local: LocalTransport) -> None:  # T28
    folder = root / "srv/service"
    folder.mkdir(parents=True)
    os.chown(folder, NOBODY, NOBODY)
    victims = root / "victims"
    victims.mkdir()
    (victims / "x.cfg").write_text("untouched\n")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for name in (".fleet-stage", "x.cfg"):
                aside = folder / f"{name}.aside"
                try:
                    (folder / name).rename(aside)
                    (folder / name).symlink_to(victims if name == ".fleet-stage" else victims / "x.cfg")
                    (folder / name).unlink()
                    aside.rename(folder / name)
                except OSError:
                    continue

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        for number in range(12):
            converge(rendered_host(rendered_file("/srv/service/x.cfg", f"version {number}\n")), local, adopt=True)
    finally:
        stop.set()
        attacker.join()
    assert sorted(path.name for path in victims.iterdir()) == ["x.cfg"]
    assert (victims / "x.cfg").read_text() == "untouched\n"
    assert not (victims / "x.cfg").is_symlink()


@needs_root
def test_a_plain_user_without_rights_is_told_so(root: Path) -> None:
    for path in (root, *root.parents):
        if path == Path("/tmp"):
            break
        path.chmod(0o755)
    plain = LocalTransport(root, wrapper=("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"))
    outcome = converge(rendered_host(rendered_file()), plain)
    assert outcome.outcome is Outcome.FAILED
    assert "permission denied" in outcome.detail


@needs_root
def test_a_plain_user_can_be_root_of_a_folder(root: Path) -> None:
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(root)], check=True, timeout=10)
    for path in (root, *root.parents):
        if path == Path("/tmp"):
            break
        path.chmod(0o755)
    plain = LocalTransport(root, wrapper=("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"))
    assert converge(rendered_host(rendered_file()), plain).outcome is Outcome.CONVERGED
    assert converge(rendered_host(rendered_file()), plain).outcome is Outcome.UNCHANGED


@needs_root
def test_a_user_who_may_only_read_sees_drift_and_says_what_he_cannot_see(root: Path, local: LocalTransport) -> None:
    rendered = rendered_host(rendered_file(), rendered_file("/etc/secret.cfg", mode=0o600))
    assert converge(rendered, local).outcome is Outcome.CONVERGED
    (root / "etc/dcmtk/dcmqrscp.cfg").write_text("edited\n")
    for path in (root, *root.parents):
        if path == Path("/tmp"):
            break
        path.chmod(0o755)
    reader = LocalTransport(root, wrapper=("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"))
    plan = make_plan(rendered, reader)
    assert [write.path for write in plan.writes] == ["/etc/dcmtk/dcmqrscp.cfg"]
    assert plan.problems == ()
    assert plan.unseen == ("/etc/secret.cfg",)


@needs_root
def test_what_lies_in_a_folder_that_a_user_may_not_enter_is_not_absent(root: Path, local: LocalTransport) -> None:
    hidden = rendered_file("/srv/closed/deep/list.cfg", mode=0o600)
    (root / "srv/closed").mkdir(parents=True)
    assert converge(rendered_host(hidden), local).outcome is Outcome.CONVERGED
    for path in (root, *root.parents):
        if path == Path("/tmp"):
            break
        path.chmod(0o755)
    (root / "srv/closed").chmod(0o700)
    reader = LocalTransport(root, wrapper=("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"))
    plan = make_plan(rendered_host(hidden), reader)
    assert plan.is_empty
    assert plan.unseen == ("/srv/closed/deep/list.cfg",)
