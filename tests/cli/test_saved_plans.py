"""Plans that are kept, runs that are gone on with, the journal and locks, as a person types them."""

import json
import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import jsonschema
import pytest

from fleet.cli import unlock
from fleet.documents.packaged import read_schema
from fleet.errors import HistoryError
from fleet.inventory.model import Inventory
from fleet.push.transport import Connector
from fleet.report.history.opening import History
from fleet.report.journal import journal_of
from fleet.workflow.chronicle import record_broken_lock
from tests.cli.doors import Door
from tests.push.fake_host import FakeConnector, FakeFile
from tests.workflow.test_saved_plans import make_checksum

APPLY = ("--yes", "--hold-down", "0s")


@pytest.fixture
def plan(hosts: Door) -> Path:
    path = hosts.root / "plan.json"
    assert hosts("plan", "--out", str(path)).status == 3
    return path


def test_a_plan_is_shown_exactly_as_it_was_printed(hosts: Door) -> None:
    path = hosts.root / "plan.json"
    printed = hosts("plan", "--out", str(path))
    assert f"`fleet apply {path}` carries it out, once" in printed.err
    shown = hosts.bare("plan", "--show", str(path))
    assert (shown.status, shown.out) == (0, printed.out)
    assert "hello" in shown.out
    in_json = hosts("plan", "-o", "json", "--out", str(path))
    assert hosts.bare("plan", "-o", "json", "--show", str(path)).out == in_json.out


def test_a_kept_plan_is_what_its_schema_says(plan: Path) -> None:
    document = json.loads(plan.read_text(encoding="utf-8"))
    schema = read_schema("plan")
    jsonschema.Draft202012Validator(schema).validate(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate({**document, "more": 1})


def test_a_kept_plan_is_applied_once(hosts: Door, plan: Path) -> None:
    said = hosts("apply", str(plan), *APPLY, "--reason", "CHG-7")
    assert (said.status, "2 converged" in said.out) == (0, True), said
    again = hosts("apply", str(plan), *APPLY)
    assert (again.status, "was applied already" in again.err) == (2, True), again
    assert "CHG-7" in hosts("history", "-n", "3").out


def test_show_tells_a_plan_that_was_edited_from_one_that_nobody_here_can_judge(hosts: Door, plan: Path) -> None:
    """Who reviews sees what the file says: an edited text must not come from there."""
    document = json.loads(plan.read_text(encoding="utf-8"))
    document["report"]["diffs"] = []
    plan.write_text(make_checksum(document), encoding="utf-8")
    shown = hosts("plan", "--show", str(plan))
    assert (shown.status, shown.out, "its seal does not fit" in shown.err) == (2, "", True), shown
    elsewhere = hosts.bare("plan", "--show", str(plan), "--history", str(hosts.root / "none.sqlite"))
    assert (elsewhere.status, "nobody can tell here whether it was edited" in elsewhere.err) == (0, True), elsewhere
    assert not (hosts.root / "none.sqlite").exists()


@pytest.mark.parametrize("verb", [("plan", "--show"), ("apply",)])
def test_what_is_no_file_is_no_plan_and_holds_nobody(hosts: Door, verb: tuple[str, ...]) -> None:
    pipe = hosts.root / "pipe"
    os.mkfifo(pipe)
    more = APPLY if verb == ("apply",) else ()
    for path in (str(pipe), "/dev/zero", str(hosts.root)):
        said = hosts(*verb, path, *more)
        assert (said.status, "cannot be read" in said.err) == (1, True), said


def test_check_looks_at_a_kept_plan_and_leaves_it_to_be_used(hosts: Door, plan: Path) -> None:
    assert hosts("apply", str(plan), "--check").status == 3
    assert hosts("apply", str(plan), *APPLY).status == 0


def test_a_host_that_moved_on_is_told_with_what_moved(hosts: Door, plan: Path) -> None:
    hosts.machines["north-1"].files["/etc/note"] = FakeFile(b"by hand\n")
    said = hosts("apply", str(plan), *APPLY, "--max-fail", "1")
    assert said.status == 2
    assert "/etc/note was absent, is file" in said.out
    assert hosts.machines["north-1"].files["/etc/note"].content == b"by hand\n"
    assert hosts.machines["north-2"].files["/etc/note"].content == b"hello\n"


@pytest.mark.parametrize("content", ["", "a letter\n", "fleet: {name: x}\n"])
def test_a_plan_is_written_over_nothing_but_a_plan(hosts: Door, content: str) -> None:
    path = hosts.root / "letter"
    path.write_text(content, encoding="utf-8")
    said = hosts("plan", "--out", str(path))
    assert (said.status, path.read_text(encoding="utf-8")) == (64, content)
    (hosts.root / "link").symlink_to(path)
    assert hosts("plan", "--out", str(hosts.root / "link")).status == 64
    assert hosts("plan", "--out", str(hosts.root / "none" / "plan")).status == 1


def test_a_plan_that_could_not_be_made_leaves_the_last_one(hosts: Door, plan: Path) -> None:
    before = plan.read_bytes()
    hosts.write("entities: [\n", "broken.yml")
    assert hosts("plan", "--out", str(plan)).status == 2
    assert plan.read_bytes() == before
    assert [path.name for path in plan.parent.iterdir() if path.name.startswith(".plan")] == []


def test_a_plan_that_cannot_be_kept_is_1_and_says_so(hosts: Door, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.workflow.plan_file.os.fsync", full)
    said = hosts("plan", "--out", str(plan))
    assert (said.status, "could not be kept: No space left" in said.err) == (1, True), said


def full(_file: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("verb", [("plan", "--show"), ("apply",)])
def test_a_broken_plan_is_2_and_a_missing_one_1(hosts: Door, plan: Path, verb: tuple[str, ...]) -> None:  # T44
    more = APPLY if verb == ("apply",) else ()
    plan.write_text(plan.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    broken = hosts(*verb, str(plan), *more)
    assert (broken.status, "torn" in broken.err) == (2, True), broken
    missing = hosts(*verb, str(plan) + "x", *more)
    assert (missing.status, "cannot be read" in missing.err) == (1, True), missing


# The controller's own disk -------------------------------------------------------------------------------


@pytest.mark.parametrize("works", range(8))
def test_a_full_disk_of_ours_hides_nothing_of_what_was_done_on_hosts(
    hosts: Door, monkeypatch: pytest.MonkeyPatch, works: int
) -> None:
    """From the first word that cannot be recorded on nobody else is begun, and what was done is told."""
    calls = count()

    def full(kept: Callable[..., object]) -> Callable[..., object]:
        def call(*words: object, **more: object) -> object:
            if next(calls) >= works:
                raise HistoryError("the history cannot be used: database or disk is full")
            return kept(*words, **more)

        return call

    for name in ("record_plan", "record_host_outcomes", "record_run_finish", "record_applied", "record_journal_head"):
        monkeypatch.setattr(History, name, full(getattr(History, name)))
    said = hosts("apply", *APPLY, "--serial", "1", "-o", "json")
    changed = {name for name, host in hosts.machines.items() if "/etc/note" in host.files}
    assert (said.status, "disk is full" in said.json["failure"]) == (1, True), said
    told = {row["host"] for row in said.json["hosts"] if row["outcome"] == "converged"}
    doubtful = {row["host"] for row in said.json["hosts"] if row["phase"] == "begun"}
    assert told <= changed <= told | doubtful
    monkeypatch.undo()
    assert hosts("history", "verify").status == 0
    assert hosts("apply", *APPLY).status == 0


# Resume --------------------------------------------------------------------------------------------------


def test_resume_of_what_is_not_there_says_so(hosts: Door) -> None:
    said = hosts("apply", "--resume", "last", *APPLY)
    assert (said.status, "no run of this fleet has begun to change anything" in said.err) == (64, True), said
    hosts("plan")
    said = hosts("apply", "--resume", "last", *APPLY)
    assert said.status == 64
    assert hosts("apply", "--resume", "nonsense", *APPLY).status == 1


def test_resume_goes_on_with_the_hosts_that_were_left_out(hosts: Door) -> None:
    away = hosts.machines.pop("north-2")
    hosts("apply", *APPLY)  # nothing is written anywhere: one host cannot be reached
    assert hosts("apply", *APPLY, "--max-fail", "1").status == 2
    hosts.machines["north-2"] = away
    said = hosts("apply", "--resume", "last", *APPLY)
    assert (said.status, "0 of its 2 hosts have no final outcome" in said.out) == (0, True), said


# The journal ---------------------------------------------------------------------------------------------


def test_history_verify_is_0_and_2_with_the_line(hosts: Door) -> None:
    nothing = hosts("history", "verify")
    assert nothing.status == 1, "there is no history yet"
    hosts("apply", *APPLY)
    whole = hosts("history", "verify")
    assert (whole.status, "a whole chain" in whole.out) == (0, True)
    head = whole.out.split()[-1]
    assert hosts("history", "verify", "--head", head).status == 0
    assert hosts("history", "verify", "--head", "3:" + "0" * 64).status == 2
    path = journal_of(hosts.history)
    path.write_text(path.read_text(encoding="ascii").replace('"north-2"', '"north-9"', 1), encoding="ascii")
    said = hosts("history", "verify")
    assert (said.status, "line 1: it was edited" in said.out) == (2, True), said
    rows = hosts("history", "verify", "-o", "json").json
    assert rows["faults"][0]["line"] == 1


def test_history_shows_why_and_of_which_commit(hosts: Door) -> None:
    hosts("apply", *APPLY, "--reason", "CHG-9: \x1b[2J new CT")
    shown = hosts("history", "last").out
    assert "CHG-9: \\x1b[2J new CT" in shown
    assert "CHG-9" in hosts("history").out


# unlock --------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(hosts: Door, monkeypatch: pytest.MonkeyPatch) -> Door:
    """north-1 is held by somebody."""

    @contextmanager
    def connect(_inventory: Inventory, *_: object, **__: object) -> Iterator[Connector]:
        yield FakeConnector(hosts.machines)

    monkeypatch.setattr(unlock, "open_connector", connect)
    words = ("run-9.ab", "17", "5", "43", b64encode(b"anna at desk-1").decode(), "waiting")
    hosts.machines["north-1"].lease = words
    return hosts


def test_unlock_says_whose_lock_it_breaks_and_writes_it_down(locked: Door) -> None:
    said = locked("unlock", "north-1", "--yes", "--reason", "anna is at lunch")
    assert said.status == 0
    assert "north-1 is locked by anna at desk-1 (run run-9) since 17 s" in said.out
    assert "it runs out in 43 s" in said.out
    assert "the lock on north-1 is broken" in said.out
    assert locked.machines["north-1"].lease == ()
    (line,) = journal_of(locked.history).read_text(encoding="ascii").splitlines()
    event = json.loads(line)
    assert (event["host"], event["whose"], event["reason"]) == (
        "north-1",
        "anna at desk-1 (run run-9)",
        "anna is at lunch",
    )
    assert locked("history", "verify").status == 0
    assert "north-1 is not locked" in locked("unlock", "north-1", "--yes").out


def test_unlock_says_when_a_script_of_theirs_still_runs(locked: Door) -> None:
    host = locked.machines["north-1"]
    host.lease = (*host.lease[:-1], "working")
    assert "a script of theirs runs there right now" in locked("unlock", "north-1", "--yes").out


def test_unlock_asks_and_nobody_there_is_wrong_usage(locked: Door) -> None:
    said = locked("unlock", "north-1")
    assert (said.status, "--yes" in said.err) == (64, True)
    assert locked.machines["north-1"].lease != ()
    assert locked("unlock", "nroth-1", "--yes").status == 2


def test_unlock_of_a_lock_that_changed_hands_meanwhile_breaks_nothing(
    locked: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = locked.machines["north-1"]
    real = record_broken_lock

    def slow(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type] # whatever it is given
        host.lease = ("run-10.cd", *host.lease[1:])

    monkeypatch.setattr("fleet.cli.unlock.record_broken_lock", slow)
    said = locked("unlock", "north-1", "--yes")
    assert (said.status, "nothing was broken" in said.out) == (2, True)
    assert host.lease[0] == "run-10.cd"


# --no-way-back -------------------------------------------------------------------------------------------


def test_a_host_without_a_way_back_is_changed_only_on_somebodys_word(hosts: Door) -> None:
    hosts.machines["north-1"].has_timers = False
    refused = hosts("apply", *APPLY, "-l", "north-1")
    assert (refused.status, "--no-way-back applies all the same" in refused.out) == (2, True), refused
    assert "/etc/note" not in hosts.machines["north-1"].files
    done = hosts("apply", *APPLY, "-l", "north-1", "--no-way-back")
    assert (done.status, "(--no-way-back)" in done.out) == (0, True), done
    assert hosts.machines["north-1"].files["/etc/note"].content == b"hello\n"


def test_a_playbook_can_say_it_too(hosts: Door) -> None:
    hosts.machines["north-1"].has_timers = False
    path = hosts.root / "book.yml"
    text = "- {name: x, hosts: north-1, steps: [{apply: {hold_down: 1ms, no_way_back: true}}]}\n"
    path.write_text(text, encoding="utf-8")
    assert hosts("run", str(path), "--reason", "CHG-1").status == 0
    assert '"reason":"CHG-1"' in journal_of(hosts.history).read_text(encoding="ascii")
    path.write_text(text.replace("true", "perhaps"), encoding="utf-8")
    assert hosts("run", str(path)).status == 2
