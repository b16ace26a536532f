"""Guards before the first contact, what a run remembers, and what the last one left behind."""

import pytest

from fleet.errors import HistoryError
from fleet.report.history.opening import open_history
from fleet.workflow.ledger import Ledger
from fleet.workflow.story import Permissions, Story
from fleet.workflow.sweeping import Asking
from tests.push.fake_host import FakeHost
from tests.workflow.scenes import HEAD, NOTE, Scene, at_once, host_rows, in_ones, outcomes

MANY = tuple(f"host-{number:02}" for number in range(1, 13))


def codes(report: object) -> list[str]:
    return [problem.code for problem in report.problems]  # type: ignore[attr-defined]


def boxes(count: int) -> str:
    rows = "".join(
        f"  - {{ae_title: CT_{number:02}, kind: modality, address: 127.0.31.{number}, port: 104}}\n"
        for number in range(1, count + 1)
    )
    return f"entities:\n{rows}"


def apply_all(scene: Scene, allowed: Permissions | None = None) -> object:
    return scene.run(lambda story: story.apply(at_once(), None, allowed))


def test_a_half_empty_inventory_is_refused_before_anybody_is_contacted(three: Scene) -> None:  # T19
    text = HEAD + host_rows(tuple(three.machines)) + NOTE
    three.write(text + boxes(10))
    apply_all(three)
    three.contacted.clear()
    three.write(text + boxes(7))
    report = three.run(lambda story: story.plan(), "plan")
    assert (report.exit_status, codes(report)) == (2, ["removal-refused"])
    assert "--allow-removal=3" in report.problems[0].message
    assert three.contacted == []


def test_what_somebody_allows_to_vanish_may(three: Scene) -> None:  # T19
    text = HEAD + host_rows(tuple(three.machines)) + NOTE
    three.write(text + boxes(10))
    apply_all(three)
    three.write(text + boxes(7))
    report = three.run(lambda story: story.apply(at_once(), None, Permissions(allow_removal=3)))
    assert report.exit_status == 0
    assert three.run(lambda story: story.plan(), "plan").exit_status == 0  # it is the new truth from now on


SENT = """\
entities:
  - {ae_title: CT01, kind: modality, address: 127.0.40.1, listens: false}
  - {ae_title: CT02, kind: modality, address: 127.0.40.2, listens: false}
  - {ae_title: OTHER, kind: archive, address: 127.0.40.8, port: 104, provides: [verification, storage]}
flows:
  - {from: "kind=modality", to: "kind=archive", services: [storage]}
"""
STORE = "  - {ae_title: STORE, kind: archive, address: 127.0.40.9, port: 104, provides: [verification, storage]}\n"


def test_a_title_that_others_still_send_to_goes_only_when_somebody_says_so(three: Scene) -> None:  # T19
    text = HEAD + host_rows(tuple(three.machines)) + NOTE
    three.write(text + SENT.replace("flows:", f"{STORE}flows:"))
    apply_all(three)
    three.contacted.clear()
    three.write(text + SENT)
    report = three.run(lambda story: story.plan(), "plan")
    assert (report.exit_status, codes(report)) == (2, ["removal-refused"])
    assert "STORE, which CT01, CT02 still send to" in report.problems[0].message
    assert three.contacted == []
    report = three.run(lambda story: story.apply(at_once(), None, Permissions(allow_removal=1)))
    assert report.exit_status == 0
    assert any("--allow-removal" in notice for notice in report.notices), "it is recorded"


def test_a_run_in_which_one_host_failed_still_sets_the_guard(three: Scene) -> None:  # T19
    text = HEAD + host_rows(tuple(three.machines)) + NOTE
    three.write(text + boxes(10))
    del three.machines["north-3"]
    three.run(lambda story: story.apply(in_ones(max_fail=1)))
    three.write(text + boxes(2))
    assert codes(three.run(lambda story: story.plan(), "plan")) == ["removal-refused"]


def test_a_run_that_wrote_nowhere_for_its_failures_sets_no_guard(three: Scene) -> None:
    del three.machines["north-3"]
    apply_all(three)
    with three.history() as history:
        assert history.last_applied() is None
        assert history.known_hosts() == frozenset()


def test_a_host_that_history_knows_cannot_just_be_deleted(three: Scene) -> None:
    apply_all(three)
    three.contacted.clear()
    three.write(HEAD + host_rows(("north-1", "north-2")) + NOTE)
    report = three.run(lambda story: story.plan(), "plan")
    assert report.exit_status == 2
    assert "`retired: true`" in report.problems[0].message
    assert "--forget-host north-3" in report.problems[0].message
    assert report.problems[0].subjects == ("north-3",)
    assert three.contacted == []


def test_a_host_that_is_gone_for_good_is_forgotten_once(three: Scene) -> None:
    apply_all(three)
    three.write(HEAD + host_rows(("north-1", "north-2")) + NOTE)
    looked = three.run(lambda story: story.plan(None, Permissions(forget_hosts=("north-3",))), "plan")
    assert looked.exit_status == 0
    assert three.run(lambda story: story.plan(), "plan").exit_status == 2  # a plan changes nothing, here too
    three.run(lambda story: story.apply(at_once(), None, Permissions(forget_hosts=("north-3",))))
    assert three.run(lambda story: story.plan(), "plan").exit_status == 0


def test_forgetting_a_host_that_nobody_knows_is_said(three: Scene) -> None:
    report = three.run(lambda story: story.apply(at_once(), None, Permissions(forget_hosts=("nroth-3",))))
    assert any("--forget-host nroth-3: history knows no such host" in notice for notice in report.notices)


def test_a_retired_host_is_emptied_and_may_then_be_deleted(three: Scene) -> None:
    apply_all(three)
    three.write(HEAD + host_rows(tuple(three.machines), north_3=", retired: true") + NOTE)
    report = three.run(lambda story: story.apply(at_once()))
    assert outcomes(report)["north-3"] == "converged"
    assert "/etc/note" not in three.machines["north-3"].files
    three.write(HEAD + host_rows(("north-1", "north-2")) + NOTE)
    assert three.run(lambda story: story.plan(), "plan").exit_status == 0


def test_a_retired_host_that_the_limit_left_out_is_not_taken_for_clean(three: Scene) -> None:
    apply_all(three)
    three.write(HEAD + host_rows(tuple(three.machines), north_3=", retired: true") + NOTE)
    three.run(lambda story: story.apply(at_once()), limit="north-1")
    three.write(HEAD + host_rows(("north-1", "north-2")) + NOTE)
    assert "north-3" in three.run(lambda story: story.plan(), "plan").problems[0].message


def test_a_torn_history_is_never_taken_for_an_empty_one(three: Scene) -> None:  # T44
    apply_all(three)
    three.contacted.clear()
    three.history_file.write_bytes(three.history_file.read_bytes()[:5000])
    with pytest.raises(HistoryError, match="torn: 5000 of"):
        open_history(three.history_file)
    assert three.contacted == []


def test_failed_means_the_last_runs_failures_through_all_of_this_run(three: Scene) -> None:
    del three.machines["north-2"]
    three.run(lambda story: story.apply(in_ones(max_fail=1)))
    three.machines["north-2"] = FakeHost()

    def twice(story: Story) -> None:
        story.plan()
        story.apply(at_once())

    report = three.run(twice, limit="@failed")
    assert outcomes(report) == {"north-2": "converged"}


def test_failed_is_an_error_when_nothing_failed(three: Scene) -> None:
    apply_all(three)
    three.contacted.clear()
    report = three.run(lambda story: story.plan(), "plan", limit="@failed")
    assert (report.exit_status, three.contacted) == (2, [])
    assert "had no failures; nothing was done" in report.findings[0].message


def test_failed_leaves_out_what_is_no_longer_there_and_says_so(three: Scene) -> None:
    del three.machines["north-2"], three.machines["north-3"]
    three.run(lambda story: story.apply(in_ones(max_fail=2)))
    three.write(HEAD + host_rows(("north-1", "north-2")) + NOTE)
    with three.history() as history:
        history.forget_host("north-3")
    three.machines["north-2"] = FakeHost()
    report = three.run(lambda story: story.plan(), "plan", limit="@failed")
    assert outcomes(report) == {"north-2": "pending"}
    assert "@failed: no longer in the inventory: north-3" in report.notices


def test_an_empty_limit_is_wrong_usage_and_never_everything(three: Scene) -> None:
    report = three.run(lambda story: story.plan(), "plan", limit=" ")
    assert (report.exit_status, three.contacted) == (1, [])
    assert "--limit is empty" in report.failure


def test_with_an_invalid_inventory_the_last_valid_one_stands_in(three: Scene) -> None:
    apply_all(three)
    three.write("entities: [", "broken.yml")

    def night(story: Story) -> None:
        assert story.use_last_valid()
        story.drift()

    report = three.run(night, "verify")
    assert outcomes(report) == dict.fromkeys(three.machines, "unchanged")
    assert any("the last valid one" in notice and "run-1" in notice for notice in report.notices)
    assert report.inventory_digest


def test_the_last_valid_inventory_is_drawn_with_the_teams_templates(three: Scene) -> None:
    apply_all(three)
    (three.root / "inventory" / "templates").mkdir()
    three.write("entities: [", "broken.yml")

    def night(story: Story) -> None:
        before = story.context.templates
        story.use_last_valid()
        assert before is not None
        assert story.context.templates == before

    three.run(night, "verify")


def test_without_a_valid_inventory_there_is_none_to_fall_back_on(three: Scene) -> None:
    three.run(lambda story: story.limit, "verify")
    with three.history() as history:
        assert history.last_valid_inventory() is None
    three.run(lambda story: [] if not story.use_last_valid() else pytest.fail("nothing was ever valid"), "verify")


def test_a_run_that_is_cut_off_is_in_the_history_as_unfinished(three: Scene) -> None:
    context = three.context()
    with open_history(context.history_file) as history:
        ledger = Ledger(context, history, "apply")
        story = Story(context, ledger, history, three.connect)
        story.plan()
    with three.history() as history:
        run = history.show_run("last")
        assert run.finished_at is None
        assert {line.outcome for line in history.host_outcomes("last")} == {"pending"}
        assert history.last_valid_inventory() is not None


def test_a_bug_leaves_a_finished_run_with_its_failure(three: Scene) -> None:
    def stumble(_story: Story) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        three.run(stumble)
    with three.history() as history:
        assert history.show_run("last").exit_status == 1


def test_a_fleet_of_boxes_alone_can_be_applied_and_remembered(scene: Scene) -> None:
    scene.write(HEAD + boxes(4))
    assert scene.run(lambda story: story.apply(at_once())).exit_status == 0
    with scene.history() as history:
        assert history.last_applied() is not None
        assert {mark.kind for mark in history.sheet_marks().values()} == {"assumed"}


def test_what_listens_nowhere_is_no_empty_sweep(scene: Scene) -> None:
    scene.write(HEAD + "entities:\n  - {ae_title: US_1, kind: modality, address: 127.0.31.1, listens: false}\n")
    report = scene.run(lambda story: story.verify(Asking()), "verify")
    assert report.exit_status == 2
    assert "US_1 listen nowhere" in report.findings[0].message
