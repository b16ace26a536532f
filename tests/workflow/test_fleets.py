"""One person, two hospitals, one history: no run of one is taken for a run of the other."""

import pytest

from fleet.workflow.story import Story
from fleet.workflow.sweeping import Asking
from tests.push.fake_host import FakeHost
from tests.verify.peers import answer_well, serving
from tests.workflow.scenes import HEAD, NOTE, Scene, at_once, host_rows, outcomes

OTHER = HEAD.replace("name: test", "name: other")


def apply_all(scene: Scene) -> object:
    return scene.run(lambda story: story.apply(at_once()))


def become_other(scene: Scene) -> None:
    """The same person goes to another folder: another fleet, another host."""
    scene.machines["west-1"] = FakeHost()
    scene.write(OTHER + host_rows(("west-1",)) + NOTE)


def test_the_hosts_of_another_fleet_are_not_missed(three: Scene) -> None:  # T19
    apply_all(three)
    become_other(three)
    report = three.run(lambda story: story.plan(), "plan")
    assert report.problems == ()
    assert outcomes(report) == {"west-1": "pending"}
    assert any("'other' was never applied" in notice and "(test)" in notice for notice in report.notices)


def test_the_guard_of_the_first_fleet_stands_after_the_second_was_applied(three: Scene) -> None:  # T19
    apply_all(three)
    become_other(three)
    apply_all(three)
    three.write(HEAD + host_rows(("north-1", "north-2")) + NOTE)
    report = three.run(lambda story: story.plan(), "plan")
    assert [each.subjects for each in report.problems] == [("north-3",)]


def test_failed_means_the_failures_of_this_fleet(three: Scene) -> None:
    del three.machines["north-2"]
    apply_all(three)
    become_other(three)
    del three.machines["west-1"]
    apply_all(three)
    three.write(HEAD + host_rows(("north-1", "north-2", "north-3")) + NOTE)
    report = three.run(lambda story: story.plan(), "plan", limit="@failed")
    assert "north-2" in outcomes(report)
    assert not any("west-1" in notice for notice in report.notices)


def test_the_night_never_falls_back_to_the_inventory_of_another_fleet(three: Scene) -> None:
    become_other(three)
    three.run(lambda story: story.plan(), "plan")
    three.write(HEAD + "entities: 7\n")

    def fall_back(story: Story) -> None:
        with pytest.raises(Exception, match="1 error"):
            story.validate()
        assert not story.use_last_valid()

    assert three.run(fall_back, "verify").exit_status == 2


def test_where_the_very_name_cannot_be_read_the_only_fleet_there_is_is_meant(three: Scene) -> None:
    three.run(lambda story: story.plan(), "plan")
    three.write("fleet: [\n")

    def fall_back(story: Story) -> None:
        with pytest.raises(Exception, match="error"):
            story.validate()
        assert story.use_last_valid()

    assert three.run(fall_back, "verify").exit_status == 2


def test_where_the_very_name_cannot_be_read_and_there_are_two_it_is_said(three: Scene) -> None:
    three.run(lambda story: story.plan(), "plan")
    become_other(three)
    three.run(lambda story: story.plan(), "plan")
    three.write("fleet: [\n")

    def fall_back(story: Story) -> None:
        with pytest.raises(Exception, match="error"):
            story.validate()
        assert not story.use_last_valid()

    report = three.run(fall_back, "verify")
    assert any("history holds other, test" in notice for notice in report.notices)


def test_a_sweep_is_compared_with_the_last_of_the_same_fleet(scene: Scene) -> None:
    with serving(answer_well, "127.0.35.1") as peer:
        place = f"address: {peer.address}, port: {peer.port}, provides: [verification]"
        row = f"entities:\n  - {{ae_title: %s, kind: other, {place}}}\n"
        scene.write(HEAD + row % "MINE")
        scene.run(lambda story: story.verify(Asking()), "verify")
        scene.write(OTHER + row % "THEIRS")
        report = scene.run(lambda story: story.verify(Asking(), compare="last"), "verify")
    assert any("the first sweep" in notice for notice in report.notices)
    assert not any("no longer asked" in notice for notice in report.notices)
