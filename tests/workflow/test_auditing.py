"""An audit changes nothing, and finds what the inventory does not say."""

import pytest

from fleet.workflow import story as workflow_story
from fleet.workflow.auditing import audit_strangers
from fleet.workflow.story import Permissions, Story
from tests.push.fake_host import FakeFile, FakeHost
from tests.verify.peers import answer_well, replies, serving
from tests.workflow.scenes import HEAD, Scene, at_once, host_rows

REJECT = bytes.fromhex("030000000004") + bytes((0, 1, 1, 3))  # A-ASSOCIATE-RJ: calling title, PS3.8 table 9-21


def archive(port: int) -> str:
    return (
        host_rows(("north-1",))
        + "flows:\n  - {from: WS_1, to: PACS, services: [storage]}\n"
        + "entities:\n"
        + "  - ae_title: PACS\n    kind: archive\n    provides: [verification, storage]\n"
        + f"    instances: [{{host: north-1, port: {port}}}]\n"
        + "    run: {engine: dcmqrscp, storage_area: /var/lib/dcmtk/PACS, access: RW, max_studies: 10,\n"
        + "          max_bytes_per_study: 10mb, deletes_oldest: accepted}\n"
        + "  - {ae_title: WS_1, kind: workstation, address: 127.0.35.1, port: 11112, provides: [verification]}\n"
    )


PATH = "/etc/fleet/dcmqrscp-PACS.cfg"


def test_a_caller_that_somebody_added_by_hand_is_found_on_the_host(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.write(HEAD + archive(11112))
    host = scene.machines["north-1"] = FakeHost()
    with monkeypatch.context() as proven:  # nobody serves here, and what is not proven would undo itself
        proven.setattr(workflow_story, "prove_hosts", lambda *_: {})
        scene.run(lambda story: story.apply(at_once()))
    content = host.files[PATH].content.decode()
    rows = content.replace("HostTable END", "by_hand = (BY_HAND, 127.0.35.9, 104)\nHostTable END")
    lines = [f"{line} by_hand" if line.startswith("PACS ") else line for line in rows.splitlines()]
    host.files[PATH] = FakeFile("\n".join(lines).encode() + b"\n", host.files[PATH].mode)
    host.log.clear()
    report = scene.run(lambda story: story.audit(), "run")
    found = {each.code: each for each in report.findings}
    assert "BY_HAND at 127.0.35.9" in found["caller-not-in-inventory"].message
    assert found["drift"].path == PATH
    assert "fleet plan -l north-1" in found["drift"].message
    assert (report.exit_status, set(host.log)) == (2, {"observe"})


def test_a_host_that_cannot_be_read_is_in_the_audits_report(scene: Scene) -> None:
    scene.write(HEAD + archive(11112))
    report = scene.run(lambda story: story.audit(), "run")
    assert [line.outcome for line in report.all_hosts] == ["unreachable"]
    assert report.exit_status == 2


def strangers(scene: Scene, port: int) -> list[tuple[str, str]]:
    scene.write(HEAD + archive(port))
    reading = scene.reading()
    return [(each.code, each.message) for each in audit_strangers(reading, reading.inventory.entities)]


def test_a_server_that_answers_anybody_is_found(scene: Scene) -> None:
    with serving(answer_well, "127.0.30.1") as open_to_all:
        ((code, message),) = strangers(scene, open_to_all.port)
    assert code == "caller-not-refused"
    assert "FLEET_STRANGER" in message


def test_a_server_that_rejects_strangers_is_as_it_should_be(scene: Scene) -> None:
    with serving(replies(REJECT), "127.0.30.1") as strict:
        assert strangers(scene, strict.port) == []


def test_a_server_that_could_not_be_asked_is_no_good_news(scene: Scene) -> None:
    with serving(answer_well, "127.0.30.1") as gone:
        gone.close()
        ((code, _),) = strangers(scene, gone.port)
    assert code == "caller-not-asked"


def test_what_was_allowed_beyond_the_ordinary_is_in_the_report(scene: Scene) -> None:
    scene.write(HEAD + archive(11112))
    scene.machines["north-1"] = FakeHost()

    def plan(story: Story) -> None:
        story.plan(None, Permissions(adopt=True, allow_removal=3, forget_hosts=("gone",)))

    told = " ".join(scene.run(plan, "plan").notices)
    assert all(word in told for word in ("--adopt", "--allow-removal", "gone (--forget-host)"))
