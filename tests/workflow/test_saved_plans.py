"""What was reviewed is what is applied: once, to hosts that did not move on, from an inventory that did not either."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import BrokenPlan, FleetError
from fleet.plan.saved import SCHEMA, format_saved_plan, parse_saved_plan
from fleet.report.history.opening import open_history
from fleet.report.summary import RunReport
from fleet.workflow.changing import Batching
from fleet.workflow.plan_file import read_plan_file, write_plan_file
from fleet.workflow.story import Permissions, Story
from tests.push.fake_host import FakeFile, FakeHost
from tests.workflow.scenes import HEAD, NOTE, Scene, at_once, details, host_rows, outcomes


def save(scene: Scene, permissions: Permissions | None = None, *, limit: str | None = None) -> Path:
    """`fleet plan --out`."""
    allowed = permissions or Permissions()
    path = scene.root / "plan.json"

    def act(story: Story) -> None:
        planned = story.plan(None, allowed)
        saved = story.save(planned, allowed, story.ledger.report)
        write_plan_file(path, format_saved_plan(saved, story.read_concealer()))

    report = scene.run(act, "plan", limit=limit)
    assert report.failure == "", report
    return path


def apply(scene: Scene, path: Path, batching: Batching | None = None, *, limit: str | None = None) -> RunReport:
    """`fleet apply FILE`."""
    return scene.run(lambda story: story.apply(batching or at_once(), held=story.hold_file(path)), limit=limit)


def written(scene: Scene) -> list[str]:
    return sorted(name for name, host in scene.machines.items() if "/etc/note" in host.files)


def refusal(report: RunReport) -> str:
    (finding,) = report.findings
    return finding.message


def test_a_saved_plan_is_carried_out_as_it_was_made(three: Scene) -> None:
    path = save(three)
    assert written(three) == []
    report = apply(three, path)
    assert outcomes(report) == dict.fromkeys(three.machines, "converged")
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_the_second_use_is_refused_and_says_when_and_by_whom_the_first_was(three: Scene) -> None:
    path = save(three)
    apply(three, path)
    three.contacted.clear()
    report = apply(three, path)
    assert report.exit_status == 2
    assert "was applied already, on 2026-11-20T14:00:00Z by tester on unknown (run run-2)" in refusal(report)
    assert three.contacted == []


def test_of_two_who_use_one_plan_at_once_one_wins(three: Scene) -> None:  # T32
    path = save(three)

    def both(story: Story) -> None:
        held = story.hold_file(path)
        assert outcomes(apply(three, path)) == dict.fromkeys(three.machines, "converged")
        for host in three.machines.values():
            host.files.clear()
            host.manifest = None
        story.apply(at_once(), held=held)

    report = three.run(both)
    assert "was applied already" in refusal(report)
    assert written(three) == []


def test_looking_at_a_plan_again_does_not_use_it_up(three: Scene) -> None:
    path = save(three)
    looked = three.run(lambda story: story.plan(held=story.hold_file(path)))
    assert (looked.exit_status, written(three)) == (3, [])
    assert outcomes(apply(three, path)) == dict.fromkeys(three.machines, "converged")


def test_a_plan_that_wrote_nothing_is_not_used_up(three: Scene) -> None:
    path = save(three)
    away = three.machines.pop("north-2")
    report = apply(three, path)
    assert (report.exit_status, written(three)) == (2, [])
    three.machines["north-2"] = away
    assert apply(three, path).exit_status == 0


def test_a_limit_narrows_a_plan_and_uses_all_of_it_up(three: Scene) -> None:
    path = save(three)
    assert outcomes(apply(three, path, limit="north-2")) == {"north-2": "converged"}
    assert "was applied already" in refusal(apply(three, path))
    assert written(three) == ["north-2"]


def test_a_limit_that_means_no_host_of_the_plan_is_refused(three: Scene) -> None:
    path = save(three, limit="north-1")
    assert "means no host of the plan" in refusal(apply(three, path, limit="north-2"))


def edit(host: FakeHost) -> None:
    host.files["/etc/note"] = FakeFile(b"by hand\n")


def chmod(host: FakeHost) -> None:
    host.files["/etc/note"].mode = 0o600


MOVES: dict[str, tuple[Callable[[FakeHost], object], str]] = {
    "edited by hand": (edit, "/etc/note was absent, is file"),
    "a link where a file will be": (
        lambda host: host.files.update({"/etc/note": FakeFile(b"", kind="symlink")}),
        "/etc/note was absent, is symlink",
    ),
    "a manifest of somebody else's run": (lambda host: setattr(host, "manifest", MANIFEST), "what is ours is another"),
    "staged by a run that was cut off": (lambda host: setattr(host, "leftover", True), "staged by a run that was cut"),
}
MANIFEST = "fleet-manifest 1\nunit other.service\nend 1\n"


@pytest.mark.parametrize("how", MOVES)
def test_a_host_that_moved_on_is_stale_untouched_and_counted(three: Scene, how: str) -> None:
    path = save(three)
    move, says = MOVES[how]
    move(three.machines["north-2"])
    before = deepcopy(three.machines["north-2"].files)
    report = apply(three, path, at_once(max_fail=1))
    assert outcomes(report) == {"north-1": "converged", "north-2": "stale", "north-3": "converged"}
    assert says in details(report)["north-2"]
    assert "nothing was written" in details(report)["north-2"]
    assert {host for diff in report.diffs for host in diff.hosts} == {"north-1", "north-3"}
    assert three.machines["north-2"].files == before
    assert "stage" not in three.machines["north-2"].log
    assert report.exit_status == 2


def test_a_stale_host_spends_a_budget_of_none_before_the_first_write(three: Scene) -> None:
    path = save(three)
    edit(three.machines["north-2"])
    report = apply(three, path)
    assert outcomes(report) == {"north-1": "not_reached", "north-2": "stale", "north-3": "not_reached"}
    assert written(three) == ["north-2"]


def test_another_mode_alone_is_told_as_that(three: Scene) -> None:
    three.run(lambda story: story.apply(at_once()))
    three.note("second")
    path = save(three)
    chmod(three.machines["north-1"])
    assert "/etc/note has another mode" in details(apply(three, path))["north-1"]


def test_a_host_that_could_not_be_read_is_not_changed_by_the_plan(three: Scene) -> None:
    away = three.machines.pop("north-2")
    path = save(three)
    three.machines["north-2"] = away
    report = apply(three, path, at_once(max_fail=1))
    assert outcomes(report)["north-2"] == "refused"
    assert "nobody saw what would be done there" in details(report)["north-2"]
    assert written(three) == ["north-1", "north-3"]


SOURCES: dict[str, tuple[Callable[[Scene], object], str]] = {
    "a file changed": (lambda scene: scene.write(HEAD + host_rows(("north-1",)) + NOTE), "fleet.yml changed"),
    "a template changed": (lambda scene: scene.note("other"), "note.j2 changed"),
    "a comment": (lambda scene: scene.write("# x\n", "more.yml"), "more.yml is new"),
    "a template over one of ours": (
        lambda scene: scene.write("x\n", "templates/haproxy.cfg.j2"),
        "templates/haproxy.cfg.j2 is new",
    ),
}


@pytest.mark.parametrize("how", SOURCES)
def test_an_inventory_that_moved_on_is_refused_and_says_what_changed(three: Scene, how: str) -> None:
    path = save(three)
    change, says = SOURCES[how]
    change(three)
    three.contacted.clear()
    report = apply(three, path)
    assert report.exit_status == 2
    assert says in refusal(report)
    assert "the inventory moved on" in refusal(report)
    assert (three.contacted, written(three)) == ([], [])


def test_a_plan_of_another_fleet_is_refused(three: Scene) -> None:
    path = save(three)
    three.write((HEAD + host_rows(tuple(three.machines)) + NOTE).replace("name: test", "name: other"))
    assert "is of the fleet 'test'" in refusal(apply(three, path))


def test_another_rendering_of_the_same_inventory_is_refused(three: Scene) -> None:
    path = save(three)
    saved = read_plan_file(path)
    other = replace(saved.hosts[0], rendered="0" * 64)
    with open_history(three.history_file) as history:
        text = format_saved_plan(replace(saved, hosts=(other, *saved.hosts[1:])), history.read_key())
    write_plan_file(path, text)
    assert "another version of fleet" in refusal(apply(three, path))
    assert written(three) == []


@pytest.mark.parametrize(
    "edit",
    [
        lambda document: document.update(plan_id="run-9"),  # to be used once more
        lambda document: document["permissions"].update(adopt=True),
        lambda document: document["permissions"].update(allow_removal=500),
        lambda document: document["permissions"].update(forget_hosts=["north-9"]),
        lambda document: document["report"].update(diffs=[]),  # what a colleague is shown
        lambda document: document["hosts"].pop(),
        lambda document: document.update(made_by="anna on desk-1"),
        lambda document: document.update(seal=""),
        lambda document: document.update(seal="0" * 64),
        lambda document: document.update(more=1),
    ],
)
def test_a_plan_that_was_edited_with_a_new_checksum_is_refused(
    three: Scene, edit: Callable[[dict[str, Any]], object]
) -> None:  # T44
    path = save(three)
    document = json.loads(path.read_text(encoding="utf-8"))
    edit(document)
    write_plan_file(path, make_checksum(document))
    report = apply(three, path)
    assert (report.exit_status, "nothing was done" in refusal(report)) == (2, True), report
    assert written(three) == []


def make_checksum(document: dict[str, Any]) -> str:
    """Whoever edits a plan can make this anew: there is no key in it."""
    from fleet.plan.saved import _digest

    body = {name: value for name, value in document.items() if name != "checksum"}
    return json.dumps({**body, "checksum": _digest(body)})


def test_what_was_allowed_when_the_plan_was_made_holds_when_it_is_applied(three: Scene) -> None:  # T43
    for host in three.machines.values():
        edit(host)
    path = save(three, Permissions(adopt=True))
    report = apply(three, path)
    assert set(outcomes(report).values()) == {"converged"}
    assert any("--adopt" in notice for notice in report.notices)


def test_a_plan_holds_digests_and_masked_diffs_and_no_contents(three: Scene) -> None:  # T39
    three.write(HEAD + host_rows(tuple(three.machines)) + NOTE.replace("/etc/note", "/etc/keepalived/note"))
    three.note("auth_pass CANARY_1")
    text = save(three).read_text(encoding="utf-8")
    assert "CANARY_1" not in text
    assert "auth_pass ***" in text


# The file ------------------------------------------------------------------------------------------------


def test_a_plan_cut_at_any_byte_is_refused(three: Scene) -> None:  # T44
    text = save(three).read_text(encoding="utf-8")
    for size in range(len(text) - 1):  # the last newline is nobody's loss
        with pytest.raises(BrokenPlan):
            parse_saved_plan(text[:size])
    assert parse_saved_plan(text).plan_id == "run-1"


def test_a_plan_edited_anywhere_is_refused(three: Scene) -> None:  # T44
    document = json.loads(save(three).read_text(encoding="utf-8"))
    for name in document:
        other = {**document, name: "x" if document[name] != "x" else "y"}
        with pytest.raises(BrokenPlan):
            parse_saved_plan(json.dumps(other))
        with pytest.raises(BrokenPlan):
            parse_saved_plan(json.dumps({each: value for each, value in document.items() if each != name}))
    with pytest.raises(BrokenPlan, match="checksum"):
        parse_saved_plan(json.dumps({**document, "more": 1}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "torn"),
        ("[]", "no saved plan"),
        ("{}", "no saved plan"),
        ('{"schema": "fleet.plan/1", "schema": "fleet.plan/1"}', "twice"),
        ('{"schema": "fleet.run/1"}', "no saved plan"),
        ('{"schema": "fleet.plan/2"}', f"this fleet knows '{SCHEMA}'"),
        ("[" * 100_000, "torn"),
    ],
)
def test_what_is_no_plan_of_this_fleet_is_refused_in_words(text: str, says: str) -> None:  # T44
    with pytest.raises(BrokenPlan, match=says):
        parse_saved_plan(text)


def test_a_broken_plan_says_which_file_and_contacts_nobody(three: Scene) -> None:  # T44
    path = save(three)
    path.write_text(path.read_text(encoding="utf-8").replace('"adopt": false', '"adopt": true'), encoding="utf-8")
    three.contacted.clear()
    report = apply(three, path)
    assert report.exit_status == 2
    assert str(path) in refusal(report)
    assert "checksum" in refusal(report)
    assert three.contacted == []


# Saved or not, the same ----------------------------------------------------------------------------------

contents = st.sampled_from([None, b"hello\n", b"other\n", b"\xff"])


@given(st.lists(contents, min_size=3, max_size=3), st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_saving_loading_and_applying_is_applying(
    tmp_path_factory: pytest.TempPathFactory, found: list[bytes | None], ours: bool
) -> None:
    allowed = Permissions(adopt=True)
    ends = []
    for is_saved in (True, False):
        scene = Scene(tmp_path_factory.mktemp("scene"))
        names = ("north-1", "north-2", "north-3")
        scene.write(HEAD + host_rows(names) + NOTE)
        scene.note("hello")
        for name, content in zip(names, found, strict=True):
            files = {} if content is None else {"/etc/note": FakeFile(content, 0o600)}
            scene.machines[name] = FakeHost(files=files, manifest=MANIFEST if ours else None)
        if is_saved:
            path = save(scene, allowed)
            report = apply(scene, path)
        else:
            report = scene.run(lambda story: story.apply(at_once(), None, allowed))
        ends.append((outcomes(report), {name: (host.files, host.manifest) for name, host in scene.machines.items()}))
        again = scene.run(lambda story: story.plan(), "plan")
        assert again.exit_status == 0
    assert ends[0] == ends[1]


def test_every_run_keeps_the_plan_that_it_carries_out(three: Scene) -> None:
    three.run(lambda story: story.apply(at_once()))
    with open_history(three.history_file) as history:
        text = history.plan_of("last")
    assert text is not None
    assert [pin.host for pin in parse_saved_plan(text).hosts] == sorted(three.machines)


def test_a_file_that_is_not_there_cannot_be_applied(three: Scene) -> None:
    report = apply(three, three.root / "none.json")
    assert report.exit_status == 1
    assert "none.json" in report.failure


def test_errors_of_plans_are_fleets_own() -> None:
    assert issubclass(BrokenPlan, FleetError)
    assert BrokenPlan.found_wrong
