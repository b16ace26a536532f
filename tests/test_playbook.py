"""Playbooks: what ships works, what is wrong has its place, and the doors do the same."""

from pathlib import Path

import pytest

from fleet.documents.packaged import package_folder
from fleet.errors import InvalidInventory, UnreadableFile
from fleet.playbook import Play, perform, read_playbook
from fleet.workflow.story import Permissions, Story
from tests.push.fake_host import FakeFile, FakeHost
from tests.verify.peers import answer_well, serving
from tests.workflow.scenes import HEAD, NOTE, Scene, host_rows, outcomes

HOSTS = ("north-1", "north-2", "north-3", "north-4")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    made.write(HEAD + host_rows(HOSTS) + NOTE)
    made.note("hello")
    made.machines |= {name: FakeHost() for name in HOSTS}
    return made


def plays(folder: Path, text: str) -> tuple[Play, ...]:
    path = folder / "mine.yml"
    path.write_text(text, encoding="utf-8")
    return read_playbook(path)


def shipped(name: str) -> tuple[Play, ...]:
    return read_playbook(package_folder("playbooks") / f"{name}.yml")


@pytest.mark.parametrize("name", ["apply", "nightly-verify", "audit"])
def test_what_ships_can_be_read(name: str) -> None:
    (play,) = shipped(name)
    assert play.hosts == "all"
    assert play.steps[0].verb == "validate"


def test_apply_allows_no_failure_and_goes_by_quarters() -> None:
    (play,) = shipped("apply")
    assert (play.serial, play.max_fail, play.canaries) == ("25%", 0, None)


STEPS = "- {{name: mine, hosts: all, steps: [{step}]}}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (STEPS.format(step="aplly"), "mine.yml:1"),
        (STEPS.format(step="apply: {confirm_within: soon}"), "mine.yml:1"),
        (STEPS.format(step="apply: {hold_down: soon}"), "mine.yml:1"),
        (STEPS.format(step="verify: {from: controler}"), "mine.yml:1"),
        (STEPS.format(step="validate").replace("mine,", "mine, serial: 0,"), "mine.yml:1"),
        (STEPS.format(step="validate").replace("mine,", "mine, canaries: 0,"), "mine.yml:1"),
        (STEPS.format(step="validate").replace("mine,", "mine, canaries: '2',"), "mine.yml:1"),
        (STEPS.format(step="validate").replace("mine,", "mine, max_fail: 1, max_fail_percentage: 5%,"), "mine.yml:1"),
        (STEPS.format(step="validate").replace("hosts: all, ", ""), "hosts"),
        (STEPS.format(step="validate").replace("name:", "when: true, name:"), "when"),
        ("", "mine.yml"),
        ("- [\n", "mine.yml:"),
        ("name: mine\n", "mine.yml:1"),
    ],
)
def test_what_is_wrong_in_a_playbook_has_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidInventory) as caught:
        plays(tmp_path, text)
    assert says in "\n".join(str(problem) for problem in caught.value.problems)


@pytest.mark.parametrize(("typed", "meant"), [("2", 2), ("north-1", "north-1"), ("'site=north, !north-2'", None)])
def test_canaries_are_a_number_or_a_selector(tmp_path: Path, typed: str, meant: int | str | None) -> None:
    (play,) = plays(tmp_path, STEPS.format(step="validate").replace("mine,", f"mine, canaries: {typed},"))
    assert play.canaries == (meant or typed.strip("'"))


def test_a_playbook_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile):
        read_playbook(tmp_path / "none.yml")


CHANGE = "- {name: mine, hosts: all, serial: %s, max_fail: %s, steps: [plan, apply: {hold_down: 0s}]}\n"


def test_a_playbook_applies_in_its_batches_under_its_budget(scene: Scene, tmp_path: Path) -> None:
    del scene.machines["north-2"]
    read = plays(tmp_path, CHANGE % (1, 1))
    report = scene.run(lambda story: perform(read, story), "run")
    assert outcomes(report) == {
        "north-1": "converged",
        "north-2": "unreachable",
        "north-3": "converged",
        "north-4": "converged",
    }
    scene.note("other")
    report = scene.run(lambda story: perform(plays(tmp_path, CHANGE % ("50%", 0)), story), "run")
    assert set(outcomes(report).values()) == {"unreachable", "not_reached"}


def test_a_share_of_failures_may_be_allowed(scene: Scene, tmp_path: Path) -> None:
    del scene.machines["north-2"]
    text = (CHANGE % (1, 0)).replace("max_fail: 0", "max_fail_percentage: 25%")
    report = scene.run(lambda story: perform(plays(tmp_path, text), story), "run")
    assert outcomes(report)["north-4"] == "converged"


def test_each_play_changes_its_own_hosts(scene: Scene, tmp_path: Path) -> None:
    text = (
        "- {name: look, hosts: north-1, steps: [plan]}\n- {name: do, hosts: north-2, steps: [apply: {hold_down: 0s}]}\n"
    )
    scene.run(lambda story: perform(plays(tmp_path, text), story), "run")
    assert [name for name in HOSTS if scene.machines[name].files] == ["north-2"]


def test_adopt_is_a_setting_of_the_play_and_of_the_person(scene: Scene, tmp_path: Path) -> None:
    for name in HOSTS:
        scene.machines[name].files["/etc/note"] = FakeFile(b"a colleague's\n")
    read = plays(tmp_path, CHANGE % (1, 0))
    assert scene.run(lambda story: perform(read, story), "run").exit_status == 2
    report = scene.run(lambda story: perform(read, story, Permissions(adopt=True)), "run")
    assert set(outcomes(report).values()) == {"converged"}


def test_an_invalid_inventory_stops_what_writes_and_contacts_nobody(scene: Scene, tmp_path: Path) -> None:
    read = plays(tmp_path, CHANGE % (1, 0))
    scene.run(lambda story: perform(read, story), "run")
    scene.contacted.clear()
    scene.write("entities: [", "broken.yml")
    report = scene.run(lambda story: perform(shipped("apply"), story), "run")
    assert (report.exit_status, scene.contacted) == (2, [])


def test_at_night_an_invalid_inventory_means_the_last_valid_one_and_2(scene: Scene) -> None:
    with serving(answer_well, "127.0.34.1") as peer:
        place = f"address: {peer.address}, port: {peer.port}, provides: [verification]"
        scene.write(HEAD + f"entities:\n  - {{ae_title: GOOD, kind: other, {place}}}\n")
        assert scene.run(lambda story: perform(shipped("nightly-verify"), story), "run").exit_status == 0
        scene.write("entities: [", "broken.yml")
        report = scene.run(lambda story: perform(shipped("nightly-verify"), story), "run")
        assert peer.connections == 2
    assert report.exit_status == 2
    assert report.echo_counts == {"answered": 1}
    assert any("the last valid one" in notice for notice in report.notices)
    assert report.problems


def test_at_night_without_any_valid_inventory_nobody_is_asked(scene: Scene) -> None:
    scene.write("entities: [", "broken.yml")
    report = scene.run(lambda story: perform(shipped("nightly-verify"), story), "run")
    assert (report.exit_status, report.echoes) == (2, ())


def test_an_audit_finds_a_file_that_somebody_changed_and_writes_nothing(scene: Scene, tmp_path: Path) -> None:
    scene.run(lambda story: perform(plays(tmp_path, CHANGE % (4, 0)), story), "run")
    scene.machines["north-3"].files["/etc/note"] = FakeFile(b"by hand\n")
    for host in scene.machines.values():
        host.log.clear()

    def audit(story: Story) -> None:
        perform(plays(tmp_path, STEPS.format(step="audit")), story)

    report = scene.run(audit, "run")
    assert [(each.host, each.path, each.code) for each in report.findings] == [("north-3", "/etc/note", "drift")]
    assert report.exit_status == 2
    assert {verb for host in scene.machines.values() for verb in host.log} == {"observe"}


def test_a_share_that_is_none_is_told_with_its_line_and_with_all_the_rest(tmp_path: Path) -> None:
    text = (
        "- name: mine\n  hosts: all\n  serial: 200%\n  max_fail_percentage: 150%\n"
        "  steps: [aplly, apply: {hold_down: 300s}]\n"
    )
    with pytest.raises(InvalidInventory) as caught:
        plays(tmp_path, text)
    told = [str(problem) for problem in caught.value.problems]
    assert "mine.yml:3:" in next(each for each in told if "serial: '200%' is no percentage" in each)
    assert "mine.yml:4:" in next(each for each in told if "max_fail_percentage: '150%'" in each)
    assert any("aplly" in each for each in told)
    assert any("every change would be undone" in each for each in told)


def test_a_misspelt_name_is_told_with_the_step_that_says_it(scene: Scene, tmp_path: Path) -> None:
    wrong = (
        STEPS.format(step="plan").replace("hosts: all", "hosts: nroth-1"),
        STEPS.format(step="verify: {from: [no]}"),
    )
    scene.write(
        HEAD + host_rows(HOSTS) + NOTE + "entities:\n  - {ae_title: A, kind: other, address: 127.0.34.9, port: 104}\n"
    )
    for text in wrong:
        read = plays(tmp_path, text)
        report = scene.run(lambda story, read=read: perform(read, story), "run")  # type: ignore[misc]
        told = " ".join([*(each.message for each in report.findings), *map(str, report.problems)])
        assert report.exit_status == 2
        assert "mine.yml:1:" in told
    assert scene.contacted == []
