"""From the inventory to the questions: under which title, where, and who is spared."""

from datetime import UTC, datetime
from pathlib import Path

from fleet.inventory.model import Entity
from fleet.verify.values import EchoTarget, Outcome
from fleet.workflow.targets import Policy, Questions, make_flow_questions, make_questions
from tests.render.building import Built, build
from tests.workflow.scenes import HEAD, NOW

HOSTS = """\
hosts:
  pacs-1: {address: 10.20.0.11, host_keys: ["ssh-ed25519 AAAA"]}
  pacs-2: {address: 10.20.0.12, host_keys: ["ssh-ed25519 AAAA"]}
"""
ARCHIVE = """\
  - ae_title: PACS
    kind: archive
    provides: [verification, storage, query-retrieve]
    instances: [{host: pacs-1, port: 11112}, {host: pacs-2, port: 11112}]
"""
FRONT = """\
virtual_services:
  - name: front
    entity: PACS
    addresses: [10.20.0.100/24, {address: 10.20.0.99/24, until: "2027-01-01"}]
    port: 104
    via: external
"""


def entity(built: Built, title: str) -> Entity:
    found = built.inventory.find_entity(title)
    assert found is not None
    return found


def ask(built: Built, *titles: str, now: datetime = NOW, override: bool = False) -> Questions:
    entities = [entity(built, title) for title in titles] or built.inventory.entities
    return make_questions(built.inventory, entities, now, override=override)


def flows(built: Built, *titles: str, override: bool = False) -> Questions:
    policy = Policy(built.inventory, NOW, override=override)
    return make_flow_questions(built.peers, [entity(built, title) for title in titles], policy)


def place(target: EchoTarget) -> tuple[str, str, int]:
    return target.ae_title, target.address, target.port


def test_every_instance_and_every_virtual_address_is_asked(tmp_path: Path) -> None:
    built = build(tmp_path, HEAD + HOSTS + "entities:\n" + ARCHIVE + FRONT)
    asked = [(target.address, target.port, target.host, target.virtual_service) for target in ask(built).targets]
    assert asked == [
        ("10.20.0.11", 11112, "pacs-1", None),
        ("10.20.0.12", 11112, "pacs-2", None),
        ("10.20.0.100", 104, None, "front"),
        ("10.20.0.99", 104, None, "front"),
    ]


def test_a_further_title_is_asked_on_its_own_port_and_on_every_instance(tmp_path: Path) -> None:
    also = (
        "    also: [{ae_title: PACS_SC, port: 11113, for: [storage-commitment]}, {ae_title: PACS_Q, listens: false}]\n"
    )
    built = build(tmp_path, HEAD + HOSTS + "entities:\n" + ARCHIVE + also)
    found = [place(target) for target in ask(built).targets if target.ae_title != "PACS"]
    assert found == [("PACS_SC", "10.20.0.11", 11113), ("PACS_SC", "10.20.0.12", 11113)]


def test_a_title_that_listens_is_asked_though_the_main_one_does_not(tmp_path: Path) -> None:
    row = "entities:\n  - {ae_title: CT, kind: modality, address: 10.0.0.1, listens: false,"
    built = build(
        tmp_path, HEAD + row + " also: [{ae_title: CT_SC, port: 105, listens: true, for: [storage-commitment]}]}\n"
    )
    assert [place(target) for target in ask(built).targets] == [("CT_SC", "10.0.0.1", 105)]


def test_what_has_tls_is_asked_on_the_port_of_tls(tmp_path: Path) -> None:
    row = "entities:\n  - {ae_title: WS, kind: workstation, address: 10.0.0.1, port: 104, provides: [verification],"
    built = build(tmp_path, HEAD + row + " tls: {port: 2762}}\n")
    (target,) = ask(built).targets
    assert (target.port, target.tls is not None) == (2762, True)


def test_an_address_by_dhcp_is_skipped_and_counted_even_when_policy_is_overridden(tmp_path: Path) -> None:
    built = build(tmp_path, HEAD + "entities:\n  - {ae_title: US, kind: modality, address: dhcp, port: 104}\n")
    for override in (False, True):
        (result,) = ask(built, override=override).skipped
        assert result.outcome is Outcome.SKIPPED_POLICY
        assert "DHCP" in result.detail


BOX = "entities:\n  - {{ae_title: CT, kind: modality, address: 10.0.0.1, port: 104, verify: {{{verify}}}}}\n"


def box(folder: Path, verify: str) -> Built:
    text = 'schedules:\n  nights: {timezone: UTC, open: ["22:00-06:00"]}\n'
    return build(folder, HEAD + text + BOX.format(verify=verify))


def test_a_device_that_must_never_be_asked_is_a_result_with_its_reason(tmp_path: Path) -> None:
    built = box(tmp_path, 'probe: never, reason: "restarts when asked"')
    (result,) = ask(built).skipped
    assert (result.outcome, result.detail) == (Outcome.SKIPPED_POLICY, "never asked: restarts when asked")
    assert ask(built, override=True).targets


def test_a_schedule_spares_a_device_outside_its_hours_only(tmp_path: Path) -> None:
    built = box(tmp_path, 'probe: nights, reason: "patients"')
    assert [result.detail for result in ask(built).skipped] == ["asked only in nights: patients"]
    night = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
    assert [place(target) for target in ask(built, now=night).targets] == [("CT", "10.0.0.1", 104)]


def test_maintenance_is_said_with_its_end_and_ends_with_it(tmp_path: Path) -> None:
    window = '{from: "2026-11-20T13:00:00Z", until: "2026-11-20T15:00:00Z", reason: new tube}'
    built = box(tmp_path, f"maintenance: [{window}]")
    (result,) = ask(built).skipped
    assert result.outcome is Outcome.SKIPPED_MAINTENANCE
    assert "new tube" in result.detail
    assert "2026-11-20" in result.detail
    assert ask(built, now=datetime(2026, 11, 20, 15, 0, tzinfo=UTC)).targets
    assert ask(built, override=True).targets


ROUTE = "flows:\n  - {from: PACS, to: WS, services: [storage]}\n"
WORKSTATION = (
    "  - {{ae_title: WS, kind: workstation, address: {address}, port: 104, provides: [verification, storage]{more}}}\n"
)


def route(
    folder: Path, *, also: str = "", address: str = "10.0.0.9", more: str = "", services: str = "storage"
) -> Built:
    text = HEAD + HOSTS + ROUTE.replace("[storage]", f"[{services}]") + "entities:\n" + ARCHIVE + also
    return build(folder, text + WORKSTATION.format(address=address, more=more))


def test_a_flow_is_asked_from_each_host_of_its_source_with_the_sources_title(tmp_path: Path) -> None:
    found = flows(route(tmp_path), "PACS").targets
    assert [(each.source, each.calling, *place(each)) for each in found] == [
        ("pacs-1", "PACS", "WS", "10.0.0.9", 104),
        ("pacs-2", "PACS", "WS", "10.0.0.9", 104),
    ]


def test_the_title_that_stands_for_a_service_is_the_one_that_calls_in_it(tmp_path: Path) -> None:
    also = "    also: [{ae_title: PACS_ST, port: 11113, for: [storage]}]\n"
    assert {each.calling for each in flows(route(tmp_path, also=also), "PACS").targets} == {"PACS_ST"}
    both = route(tmp_path / "both", also=also, services="storage, verification")
    assert {each.calling for each in flows(both, "PACS").targets} == {"PACS_ST", "PACS"}


def test_a_peer_behind_a_virtual_service_is_called_at_its_virtual_address(tmp_path: Path) -> None:
    text = HEAD + HOSTS.replace("hosts:\n", "hosts:\n  gate: {address: 10.20.0.13, host_keys: [ssh-ed25519 AAAA]}\n")
    gate = "  - {ae_title: GATE, kind: other, provides: [verification], instances: [{host: gate, port: 104}]}\n"
    way = "flows:\n  - {from: GATE, to: PACS, services: [storage]}\n"
    built = build(tmp_path, text + way + "entities:\n" + ARCHIVE + gate + FRONT)
    (target,) = flows(built, "GATE").targets
    assert (place(target), target.virtual_service) == (("PACS", "10.20.0.100", 104), "front")


def test_policy_spares_a_device_whoever_would_ask_it(tmp_path: Path) -> None:
    built = route(tmp_path, more=', verify: {probe: never, reason: "restarts when asked"}')
    asked = flows(built, "PACS")
    assert (asked.targets, [each.outcome for each in asked.skipped]) == ((), [Outcome.SKIPPED_POLICY] * 2)
    assert [each.target.source for each in asked.skipped] == ["pacs-1", "pacs-2"]
    assert len(flows(built, "PACS", override=True).targets) == 2


def test_a_peer_by_dhcp_is_told_as_skipped_and_not_left_out(tmp_path: Path) -> None:
    asked = flows(route(tmp_path, address="dhcp"), "PACS")
    assert asked.targets == ()
    assert all("DHCP" in each.detail for each in asked.skipped)
    assert len(asked.skipped) == 2


def test_a_box_asks_nothing_through_hosts(tmp_path: Path) -> None:
    assert flows(route(tmp_path), "WS") == Questions((), ())
