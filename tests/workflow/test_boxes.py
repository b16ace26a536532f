"""Boxes by hand: a first run buries nobody, a change opens a box, and only a person closes it."""

from fleet.report.summary import RunReport
from fleet.workflow.boxes import box_statuses, boxes_since, mark_boxes_done
from tests.workflow.scenes import HEAD, Scene, at_once

BOX = "  - {{ae_title: {title}, kind: modality, address: 127.0.36.{number}, port: 104, provides: [verification]}}\n"


def write(scene: Scene, *titles: str, prober: str = "FLEET_SCU") -> None:
    rows = "".join(BOX.format(title=title, number=number) for number, title in enumerate(titles, start=1))
    scene.write(HEAD.replace("FLEET_SCU", prober) + "entities:\n" + rows)


def plan(scene: Scene) -> RunReport:
    return scene.run(lambda story: story.plan(), "plan")


def test_before_the_first_apply_boxes_are_unconfirmed_and_none_is_open(scene: Scene) -> None:
    write(scene, "CT_1", "CT_2")
    report = plan(scene)
    assert (report.by_hand, report.unconfirmed) == ((), ("CT_1", "CT_2"))
    assert report.exit_status == 0


def test_the_first_apply_takes_them_as_found_and_a_change_opens_them(scene: Scene) -> None:
    write(scene, "CT_1", "CT_2")
    scene.run(lambda story: story.apply(at_once()))
    write(scene, "CT_1", "CT_2", prober="OTHER_SCU")
    report = plan(scene)
    assert [each.box for each in report.by_hand] == ["CT_1", "CT_2"]
    assert any("OTHER_SCU" in change for change in report.by_hand[0].changes)
    assert report.exit_status == 0  # boxes by hand do not count


def test_a_box_that_came_after_the_first_apply_is_open(scene: Scene) -> None:
    write(scene, "CT_1")
    scene.run(lambda story: story.apply(at_once()))
    write(scene, "CT_1", "CT_2")
    assert [each.box for each in plan(scene).by_hand] == ["CT_2"]
    scene.run(lambda story: story.apply(at_once()))  # another apply does not type it in
    assert [each.box for each in plan(scene).by_hand] == ["CT_2"]


def test_done_closes_a_box_and_remembers_who_said_so(scene: Scene) -> None:
    write(scene, "CT_1")
    reading = scene.reading()
    with scene.history() as history:
        mark_boxes_done(history, scene.context(), box_statuses(reading, history))
        (mark,) = history.sheet_marks().values()
        assert (mark.who, mark.kind) == ("tester", "done")
    report = plan(scene)
    assert (report.by_hand, report.unconfirmed) == ((), ())


def test_a_plan_marks_nothing(scene: Scene) -> None:
    write(scene, "CT_1")
    plan(scene)
    with scene.history() as history:
        assert history.sheet_marks() == {}


def test_since_a_run_whose_inventory_was_invalid_the_marks_of_then_count(scene: Scene) -> None:
    write(scene, "CT_1")
    scene.run(lambda story: story.apply(at_once()))
    scene.write("entities: [", "broken.yml")
    broken = plan(scene).run_id
    (scene.root / "inventory" / "broken.yml").unlink()
    write(scene, "CT_1", prober="OTHER_SCU")
    with scene.history() as history:
        (status,) = boxes_since(scene.reading(), history, None, broken, scene.context())
    assert any("OTHER_SCU" in change for change in status.changes)
