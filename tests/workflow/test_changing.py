"""Every host that was meant has one outcome, and what must not be written is not."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from fleet.errors import HostError
from fleet.events import HostPhase, Notice
from fleet.inventory.model import Host
from fleet.plan.batches import FailureBudget
from fleet.plan.steps import HostPlan
from fleet.push.apply import apply_batch
from fleet.push.outcome import HostOutcome, Outcome
from fleet.workflow import changing, story
from fleet.workflow.changing import Batching
from fleet.workflow.story import Permissions
from tests.push.fake_host import FakeHost
from tests.workflow.scenes import HEAD, NOTE, Scene, at_once, details, host_rows, in_ones, outcomes, virtual_pair


def batches(scene: Scene) -> list[str]:
    return [event.text.partition(": ")[2] for event in scene.events if isinstance(event, Notice)]


def written(scene: Scene) -> list[str]:
    return sorted(name for name, host in scene.machines.items() if "/etc/note" in host.files)


def test_apply_brings_every_host_to_the_inventory_and_the_second_plan_is_empty(three: Scene) -> None:
    report = three.run(lambda story: story.apply(at_once()))
    assert outcomes(report) == dict.fromkeys(three.machines, "converged")
    assert report.exit_status == 0
    again = three.run(lambda story: story.plan(), "plan")
    assert (again.exit_status, outcomes(again)) == (0, dict.fromkeys(three.machines, "unchanged"))
    assert again.diffs == ()


def test_a_plan_says_pending_and_touches_nothing(three: Scene) -> None:
    report = three.run(lambda story: story.plan(), "plan")
    assert (report.exit_status, outcomes(report)) == (3, dict.fromkeys(three.machines, "pending"))
    assert written(three) == []
    assert {verb for host in three.machines.values() for verb in host.log} == {"observe"}


def test_a_host_that_lacks_a_program_means_nothing_is_written_anywhere(three: Scene) -> None:
    lacking = three.machines["north-2"]
    three.write(HEAD + host_rows(tuple(three.machines)) + NOTE + RECEIVER)
    lacking.missing_programs.add("/usr/bin/storescp")
    report = three.run(lambda story: story.apply(at_once()))
    assert outcomes(report) == {"north-1": "not_reached", "north-2": "refused", "north-3": "not_reached"}
    assert written(three) == []
    assert report.exit_status == 2
    assert "north-2 failed before its turn" in details(report)["north-1"]


def test_an_unreachable_host_counts_before_the_first_write(three: Scene) -> None:
    del three.machines["north-3"]
    report = three.run(lambda story: story.apply(at_once()))
    assert outcomes(report) == {"north-1": "not_reached", "north-2": "not_reached", "north-3": "unreachable"}
    assert written(three) == []


def test_a_budget_that_allows_it_goes_on_without_the_unreachable_host(three: Scene) -> None:
    del three.machines["north-3"]
    report = three.run(lambda story: story.apply(at_once(max_fail=1)))
    assert outcomes(report) == {"north-1": "converged", "north-2": "converged", "north-3": "unreachable"}
    assert report.exit_status == 2


def test_a_spent_budget_leaves_the_rest_not_reached_and_says_why(three: Scene) -> None:
    three.machines["north-2"].failures["switch"] = HostError("disk full", phase="switch")
    report = three.run(lambda story: story.apply(in_ones()))
    assert outcomes(report) == {"north-1": "converged", "north-2": "failed", "north-3": "not_reached"}
    assert details(report)["north-3"] == (
        "not begun: north-2 failed before its turn, and the budget of failures was spent"
    )
    assert written(three) == ["north-1"]


def test_without_a_confirmation_nobody_is_asked_for_one_and_the_report_says_so(three: Scene) -> None:
    report = three.run(lambda story: story.apply(replace(at_once(), confirm_within_s=None)))
    assert outcomes(report) == dict.fromkeys(three.machines, "converged")
    assert [host.log.count("confirm") for host in three.machines.values()] == [0, 0, 0]
    assert any("--no-confirm" in notice for notice in report.notices)
    three.note("other")
    assert three.run(lambda story: story.apply(at_once())).exit_status == 0
    assert [host.log.count("confirm") for host in three.machines.values()] == [1, 1, 1]


def test_a_share_of_failures_is_a_share_of_all_hosts_of_the_run(three: Scene) -> None:
    three.machines["north-1"].failures["switch"] = HostError("disk full", phase="switch")
    half = Batching(1, FailureBudget(max_fail_percentage=50.0), 0.0)
    assert outcomes(three.run(lambda story: story.apply(half)))["north-3"] == "converged"
    three.note("other")
    none = Batching(1, FailureBudget(max_fail_percentage=0.0), 0.0)
    assert outcomes(three.run(lambda story: story.apply(none)))["north-3"] == "not_reached"


def test_a_canary_goes_alone_and_its_failure_ends_the_run_whatever_the_budget(three: Scene) -> None:  # T37
    three.machines["north-2"].failures["switch"] = HostError("disk full", phase="switch")
    plenty = replace(at_once(max_fail=3), canaries="north-2")
    report = three.run(lambda story: story.apply(plenty))
    assert outcomes(report) == {"north-1": "not_reached", "north-2": "failed", "north-3": "not_reached"}
    assert details(report)["north-1"] == (
        "not begun: the canary north-2 failed, and hosts after a canary that failed are never begun"
    )
    assert written(three) == []
    del three.machines["north-2"].failures["switch"]
    report = three.run(lambda story: story.apply(plenty))
    assert outcomes(report) == dict.fromkeys(three.machines, "converged")
    assert batches(three)[-3:] == ["north-2", "north-2", "north-1, north-3"], "told, then alone, then the rest"


def test_a_canary_that_cannot_be_read_ends_the_run_before_the_first_write(three: Scene) -> None:  # T37
    del three.machines["north-3"]
    report = three.run(lambda story: story.apply(replace(at_once(max_fail=3), canaries="north-3")))
    assert outcomes(report) == {"north-1": "not_reached", "north-2": "not_reached", "north-3": "unreachable"}
    assert written(three) == []


def test_canaries_may_be_so_many_hosts_and_never_nobody(three: Scene) -> None:
    three.run(lambda story: story.apply(replace(at_once(), canaries=2)))
    assert batches(three)[-2:] == ["north-1, north-2", "north-3"]
    three.note("other")
    nobody = replace(at_once(), canaries="north-1")
    report = three.run(lambda story: story.apply(nobody), limit="north-2")
    assert "none of this run's hosts is meant" in report.failure or report.findings
    assert set(three.machines["north-2"].log[-1:]) == {"observe"}, "nothing was written"


def test_inside_a_batch_too_no_new_host_starts_once_the_budget_is_spent(scene: Scene) -> None:  # T37
    """The usual `fleet apply`: one batch of all hosts, of which some are worked on at once."""
    names = [f"host-{number:02}" for number in range(12)]
    scene.write(HEAD + host_rows(names) + NOTE)
    scene.note("first")
    scene.machines.update({name: FakeHost() for name in names})
    scene.machines["host-01"].failures["stage"] = HostError("disk full", phase="stage")
    scene.forks = 1
    report = scene.run(lambda story: story.apply(at_once()))
    ended = outcomes(report)
    assert (ended["host-00"], ended["host-01"]) == ("converged", "failed")
    assert {ended[name] for name in names[2:]} == {"not_reached"}
    assert details(report)["host-11"] == (
        "not begun: host-01 failed before its turn, and the budget of failures was spent"
    )
    assert written(scene) == ["host-00"]
    assert not any("stage" in scene.machines[name].log for name in names[2:])


def test_a_canary_that_failed_stops_the_other_canaries_of_its_batch(scene: Scene) -> None:  # T37
    names = ["north-1", "north-2", "north-3"]
    scene.write(HEAD + host_rows(names) + NOTE)
    scene.note("first")
    scene.machines.update({name: FakeHost() for name in names})
    scene.machines["north-1"].failures["stage"] = HostError("disk full", phase="stage")
    scene.forks = 1
    plenty = replace(at_once(max_fail=3), canaries=2)
    report = scene.run(lambda story: story.apply(plenty))
    assert outcomes(report) == {"north-1": "failed", "north-2": "not_reached", "north-3": "not_reached"}


STATES = ("failed", "unreachable", "stale", "rolled_back", "rollback_failed", "locked", "refused")


def test_with_a_third_of_the_fleet_failing_no_new_host_starts_once_the_budget_is_spent(  # T37
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"host-{number:03}" for number in range(100)]
    scene.write(HEAD + host_rows(names) + NOTE)
    scene.note("first")
    scene.machines.update({name: FakeHost() for name in names})
    chance = random.Random(37)
    broken = {name: chance.choice(STATES) for name in chance.sample(names, 30)}
    begun: list[str] = []

    def apply(pairs: Sequence[tuple[Host, HostPlan]], *_rest: object) -> tuple[HostOutcome, ...]:
        begun.extend(host.name for host, _ in pairs)
        return tuple(HostOutcome(host.name, Outcome(broken.get(host.name, "converged"))) for host, _ in pairs)

    monkeypatch.setattr(changing, "apply_batch", apply)
    tenth = Batching("5%", FailureBudget(max_fail_percentage=10.0), 0.0)
    report = scene.run(lambda story: story.apply(tenth))
    ended = outcomes(report)
    failed = [name for name in begun if name in broken]
    assert 10 < len(failed) <= 15, "the batch in which it is spent is the last"
    assert len([name for name in begun[:-5] if name in broken]) <= 10, "before it, it was not spent"
    assert {name: ended[name] for name in begun} == {name: broken.get(name, "converged") for name in begun}
    left = set(names) - set(begun)
    assert {ended[name] for name in left} == {"not_reached"}
    assert set(report.not_reached) == left, "the report says who"
    assert all("the budget of failures was spent" in details(report)[name] for name in left)
    assert report.exit_status == 2


@pytest.mark.parametrize("word", STATES)
def test_every_kind_of_failure_counts_against_the_one_budget(  # T37
    word: str, three: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(pairs: Sequence[tuple[Host, HostPlan]], *_rest: object) -> tuple[HostOutcome, ...]:
        return tuple(HostOutcome(host.name, Outcome(word)) for host, _ in pairs)

    monkeypatch.setattr(changing, "apply_batch", apply)
    report = three.run(lambda story: story.apply(in_ones()))
    assert outcomes(report) == {"north-1": word, "north-2": "not_reached", "north-3": "not_reached"}


RECEIVER = """\
entities:
  - ae_title: RECEIVER
    kind: archive
    provides: [verification, storage]
    instances: [{host: north-2, port: 11112}]
    run: {engine: storescp, storage_area: /var/lib/dcmtk/RECEIVER}
"""


def test_partners_are_never_changed_together(three: Scene) -> None:
    pair = ", redundancy_group: pair"
    three.write(HEAD + host_rows(tuple(three.machines), north_1=pair, north_3=pair) + NOTE)
    three.run(lambda story: story.apply(at_once()))
    assert batches(three) == ["north-1, north-2", "north-3"]


def test_members_of_a_virtual_service_are_partners() -> None:
    pair = frozenset({"north-1", "north-2"})
    assert changing._failed_partner("north-2", ["north-1"], [pair])
    assert not changing._failed_partner("north-3", ["north-1"], [pair])


def test_a_host_whose_partner_failed_is_not_begun_whatever_the_budget(three: Scene) -> None:  # T36
    pair = ", redundancy_group: pair"
    three.write(HEAD + host_rows(tuple(three.machines), north_1=pair, north_3=pair) + NOTE)
    three.machines["north-1"].failures["switch"] = HostError("disk full", phase="switch")
    report = three.run(lambda story: story.apply(at_once(max_fail=3)))
    assert outcomes(report) == {"north-1": "failed", "north-2": "converged", "north-3": "not_reached"}
    assert "its partner north-1 failed, and this one may be the last that serves" in details(report)["north-3"]


def test_a_host_whose_partner_is_unreachable_is_not_begun(three: Scene) -> None:
    pair = ", redundancy_group: pair"
    three.write(HEAD + host_rows(tuple(three.machines), north_1=pair, north_3=pair) + NOTE)
    del three.machines["north-1"]
    report = three.run(lambda story: story.apply(at_once(max_fail=3)))
    assert outcomes(report) == {"north-1": "unreachable", "north-2": "converged", "north-3": "not_reached"}


def test_of_a_pair_the_backup_is_changed_first(three: Scene) -> None:  # T36
    vrrp = "    vrrp: {interface: eth0, virtual_router_id: 7, priority: {north-1: 200, north-2: 100}}\n"
    text = HEAD + host_rows(tuple(three.machines)) + virtual_pair(f"    via: keepalived\n{vrrp}")
    three.write(text)
    reading = three.reading()
    order = changing.backups_first(reading, reading.inventory.hosts.values())
    assert [host.name for host in order] == ["north-3", "north-2", "north-1"]
    assert changing.partners(reading) == [frozenset({"north-1", "north-2"})]


def test_a_host_whose_entity_does_not_answer_afterwards_has_failed(
    three: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "prove_hosts", lambda *_: {"north-1": "after the change PACS ends as refused"})
    report = three.run(lambda story: story.apply(in_ones()))
    assert outcomes(report) == {"north-1": "rollback_failed", "north-2": "not_reached", "north-3": "not_reached"}
    assert details(report)["north-1"].startswith("after the change PACS ends as refused; ")
    assert "/etc/note" not in three.machines["north-1"].files
    assert next(line for line in report.all_hosts if line.host == "north-1").phase == "echo"


def test_an_interrupted_apply_has_an_outcome_for_what_was_done(three: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    real = apply_batch

    def interrupt(pairs, connector, settings, observer, hear):  # type: ignore[no-untyped-def]
        if pairs[0][0].name == "north-2":
            observer(HostPhase("north-2", "connect"))
            raise KeyboardInterrupt
        return real(pairs, connector, settings, observer, hear)

    monkeypatch.setattr(changing, "apply_batch", interrupt)
    report = three.run(lambda story: story.apply(in_ones()))
    assert outcomes(report) == {"north-1": "converged", "north-2": "failed", "north-3": "not_reached"}
    assert "interrupted while it was being changed" in details(report)["north-2"]
    assert report.exit_status == 1
    with three.history() as history:
        stored = {line.host: line.outcome for line in history.host_outcomes("last")}
    assert stored == outcomes(report)


def test_another_plays_plan_is_another_plan(three: Scene) -> None:
    def two_plays(story: story.Story) -> None:
        story.plan("north-1")
        story.apply(at_once(), "north-2")

    three.run(two_plays)
    assert written(three) == ["north-2"]


def test_an_unknown_file_at_our_path_is_taken_only_when_somebody_says_so(three: Scene) -> None:  # T43
    from tests.push.fake_host import FakeFile

    three.machines["north-1"].files["/etc/note"] = FakeFile(b"a colleague's\n")
    refused = three.run(lambda story: story.apply(at_once()))
    assert outcomes(refused)["north-1"] == "refused"
    assert "--adopt" in details(refused)["north-1"]
    taken = three.run(lambda story: story.apply(at_once(), None, Permissions(adopt=True)))
    assert set(outcomes(taken).values()) == {"converged"}


def test_outcomes_are_a_closed_set_and_failures_are_those_that_count() -> None:
    counted = {outcome for outcome in Outcome if HostOutcome("north-1", outcome).outcome.is_failure}
    rolled = {Outcome.ROLLED_BACK, Outcome.ROLLBACK_FAILED}
    assert counted == rolled | {
        Outcome.REFUSED,
        Outcome.STALE,
        Outcome.LOCKED,
        Outcome.FAILED,
        Outcome.UNREACHABLE,
    }


def test_a_host_that_only_one_play_means_is_alone_in_it(three: Scene) -> None:
    report = three.run(lambda story: story.apply(at_once(), "north-1, north-3"), limit="north-2, north-3")
    assert outcomes(report) == {"north-3": "converged"}


def test_nobody_is_contacted_for_a_limit_that_shares_no_host_with_the_play(three: Scene) -> None:
    report = three.run(lambda story: story.apply(at_once(), "north-1"), limit="north-2")
    assert report.exit_status == 2
    assert "have no host in common; nothing was done" in report.findings[0].message
    assert three.contacted == []


def test_a_fresh_host_needs_nothing_but_its_name(scene: Scene) -> None:
    scene.write(HEAD + host_rows(("solo",)))
    scene.machines["solo"] = FakeHost()
    assert scene.run(lambda story: story.apply(at_once())).exit_status == 0
