"""What the journal says of a run: who, from where, why, of which commit, what was overridden, each host's files."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import HostError
from fleet.plan.decide import make_host_plan
from fleet.plan.saved import SavedPlan, format_saved_plan, pin_host
from fleet.push.observe import observe_host
from fleet.push.outcome import HostOutcome, Outcome
from fleet.render.artifacts import RenderedFile, RenderedHost
from fleet.report.history.opening import open_history
from fleet.report.journal import journal_of, read_alone
from fleet.report.journal_check import check_journal
from fleet.workflow.changing import Batching
from fleet.workflow.chronicle import Intent
from fleet.workflow.commit import read_commit
from fleet.workflow.context import Origin
from fleet.workflow.ledger import Ledger
from fleet.workflow.story import Permissions, Story
from tests.push.fake_host import FakeFile, FakeHost
from tests.workflow.scenes import Scene, at_once, in_ones


def events(scene: Scene) -> list[Mapping[str, Any]]:
    text = journal_of(scene.history_file).read_text(encoding="ascii")
    return [json.loads(line) for line in text.splitlines()]


def is_whole(scene: Scene) -> bool:
    path = journal_of(scene.history_file)
    with open_history(scene.history_file) as history, read_alone(path) as data:
        checked = check_journal(data, history.read_journal_head())
    return not checked.faults and not checked.remarks


def test_a_change_is_a_chain_from_its_beginning_to_its_end(three: Scene) -> None:
    three.machines["north-2"].failures["switch"] = HostError("said SECRET_CANARY", phase="switch")
    report = three.run(lambda story: story.apply(in_ones()))
    found = events(three)
    assert [event["event"] for event in found] == ["begin", "touch", "host", "touch", "host", "host", "end"]
    begin, _, first, *_, last = found
    assert (begin["run"], begin["verb"], begin["fleet"]) == ("run-1", "apply", "test")
    assert (begin["inventory_digest"], begin["git"]) == (report.inventory_digest, None)
    assert len(begin["plan_digest"]) == 64
    assert begin["hosts"] == ["north-1", "north-2", "north-3"]
    assert (first["host"], first["outcome"]) == ("north-1", "converged")
    (file,) = first["files"]
    assert (file["path"], file["before"], len(file["after"])) == ("/etc/note", None, 64)
    assert (last["exit_status"], last["hosts"]["converged"]) == (2, 1)
    # What a host said is in the history and on the terminal, for as long as somebody wants; never in here.
    assert "SECRET_CANARY" not in journal_of(three.history_file).read_text(encoding="ascii")
    assert is_whole(three)


def test_the_report_tells_the_head_so_that_it_can_be_kept_elsewhere(three: Scene) -> None:
    report = three.run(lambda story: story.apply(at_once()))
    (told,) = (notice for notice in report.notices if notice.startswith("journal: "))
    assert told == f"journal: {events(three)[-1]['n']}:{events(three)[-1]['hash']}"


def test_looking_writes_nothing_into_the_journal(three: Scene) -> None:
    three.run(lambda story: story.plan(), "plan")
    assert not journal_of(three.history_file).exists()
    three.run(lambda story: story.apply(at_once()))
    before = len(events(three))
    three.run(lambda story: story.apply(at_once()))
    assert len(events(three)) == before, "nothing was changed, so nothing is told"


def test_who_from_where_and_why_are_in_it(three: Scene) -> None:
    origin = Origin("root", "anna", "anna", "desk-1", "10.0.0.7")
    context = replace(three.context(), origin=origin, reason="CHG-4711: new CT")
    with open_history(context.history_file) as history, Ledger(context, history, "apply") as ledger:
        Story(context, ledger, history, three.connect).apply(at_once())
        ledger.finish()
        assert history.show_run("last").start.reason == "CHG-4711: new CT"
    begin = events(three)[0]
    assert begin["who"] == {"user": "root", "sudo_user": "anna", "login_user": "anna"}
    assert begin["from"] == {"host": "desk-1", "ssh_client": "10.0.0.7"}
    assert begin["reason"] == "CHG-4711: new CT"


def test_everything_beyond_the_ordinary_is_in_it(three: Scene) -> None:
    for host in three.machines.values():
        host.files["/etc/note"] = FakeFile(b"by hand\n")
    allowed = Permissions(adopt=True, allow_removal=12, forget_hosts=("gone-1",))
    three.run(lambda story: story.apply(Batching(None, at_once().budget, 0.0, None, no_way_back=True), None, allowed))
    said = " ".join(events(three)[0]["overrides"])
    for word in ("--adopt", "--allow-removal", "12", "--forget-host", "gone-1", "--no-way-back", "--no-confirm"):
        assert word in said, word


def test_what_cannot_be_written_down_is_not_done(three: Scene) -> None:
    journal_of(three.history_file).mkdir(parents=True)
    report = three.run(lambda story: story.apply(at_once()))
    assert report.exit_status == 1
    assert "the journal cannot be opened" in report.failure
    assert all("/etc/note" not in host.files for host in three.machines.values())


# git -----------------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    environment = {
        **{name: os.environ[name] for name in ("PATH",)},
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "HOME": str(folder),
    }
    said = subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(folder), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.strip()


@pytest.fixture
def committed(three: Scene) -> Scene:
    git(three.root, "init", "-q")
    git(three.root, "add", "inventory")
    git(three.root, "commit", "-q", "-m", "first")
    return three


def test_the_commit_of_the_inventory_is_in_it_and_whether_its_files_are_that_commits(committed: Scene) -> None:
    name = git(committed.root, "rev-parse", "HEAD")
    committed.run(lambda story: story.apply(at_once()))
    assert events(committed)[0]["git"] == {"commit": name, "dirty": False}
    committed.note("dirty")
    committed.run(lambda story: story.apply(at_once()))
    assert [event["git"] for event in events(committed) if event["event"] == "begin"][1] == {
        "commit": name,
        "dirty": True,
    }
    with open_history(committed.history_file) as history:
        assert history.show_run("last").start.git_commit == f"{name} (dirty)"


@pytest.mark.parametrize(
    ("path", "text", "is_dirty"),
    [("more.yml", "# new\n", True), ("fleet.yml", None, True), ("../elsewhere.txt", "x", False)],
)
def test_a_file_that_is_new_or_gone_makes_it_dirty_and_one_beside_it_does_not(
    committed: Scene, path: str, text: str | None, is_dirty: bool
) -> None:
    root = committed.root / "inventory"
    if text is None:
        (root / path).unlink()
    else:
        (root / path).write_text(text, encoding="utf-8")
    found = read_commit(root, [name.name for name in root.iterdir()])
    assert found is not None
    assert found.is_dirty == is_dirty


def test_nothing_that_the_repository_configures_is_run(committed: Scene) -> None:
    touched = committed.root / "touched"
    program = committed.root / "program"
    program.write_text(f"#!/bin/sh\ntouch {touched}\ncat\n", encoding="utf-8")
    program.chmod(0o755)
    for key in (
        "core.fsmonitor",
        "filter.x.clean",
        "filter.x.smudge",
        "diff.external",
        "core.pager",
        "core.sshCommand",
    ):
        git(committed.root, "config", key, str(program))
    (committed.root / ".git/info/attributes").write_text("* filter=x\n", encoding="utf-8")
    hooks = committed.root / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "post-index-change", "pre-commit", "reference-transaction"):
        (hooks / name).symlink_to(program)
    committed.note("dirty")
    committed.run(lambda story: story.apply(at_once()))
    assert events(committed)[0]["git"]["dirty"]
    assert not touched.exists()


def test_without_git_there_is_no_commit_and_no_error(committed: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert read_commit(committed.root / "inventory", ["fleet.yml"]) is None


def test_a_repository_without_a_commit_has_none(three: Scene) -> None:
    git(three.root, "init", "-q")
    assert read_commit(three.root / "inventory", ["fleet.yml"]) is None


def test_of_a_file_that_holds_secrets_no_plain_digest_is_kept(three: Scene) -> None:
    # T39: eight characters of a secret could be tried out against a plain digest
    rendered = RenderedFile("north-1", "/etc/note", "auth_pass CANARY_8\n", secrets=((10, 18),))
    host = FakeHost(files={"/etc/note": FakeFile(b"auth_pass CANARY_7\n")})
    whole = RenderedHost("north-1", (rendered,))
    observed = observe_host(whole, host, deadline_s=1)
    plan = make_host_plan(whole, observed, adopt=True)
    context = three.context()
    with open_history(context.history_file) as history, Ledger(context, history, "apply") as ledger:
        key = history.read_key()
        saved = SavedPlan("run-1", "", "", "test", key.key_id, "", {}, (pin_host(plan, observed, key),))
        ledger.begin_change(Intent("test", "", saved.digest, ("north-1",)), saved)
        ledger.hosts([HostOutcome("north-1", Outcome.CONVERGED)], {"north-1": plan})
        kept = format_saved_plan(saved) + journal_of(three.history_file).read_text(encoding="ascii")
        (line,) = history.host_outcomes("last")
    old = host.files["/etc/note"].digest
    assert line.files[0].after_digest == key.mark(rendered.digest)
    assert line.files[0].before_digest == key.mark(old)
    assert key.mark(old) in kept
    for plain in (old, rendered.digest, "CANARY_7", "CANARY_8"):
        assert plain not in kept
