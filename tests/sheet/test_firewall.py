"""The rules that the flows need: every one, once, with its reasons, and none that nothing needs."""

import pytest

from fleet.inventory.peers import Peers
from fleet.sheet.firewall import make_firewall
from tests.sheet.fleets import load


def rules(*changes: tuple[str, str], of: str | None = None) -> dict[tuple[str, str, str, int | None], tuple[str, ...]]:
    inventory = load(*changes)
    entities = None if of is None else [inventory.by_title[of]]
    return {(r.source, r.destination, r.protocol, r.port): r.why for r in make_firewall(Peers(inventory), entities)}


NEEDED = {
    "a flow goes to the virtual address": ("10.20.3.21", "10.20.0.100", "tcp", 104),
    "and to the old one while it lives": ("10.20.3.21", "10.20.0.99", "tcp", 104),
    "C-MOVE comes back from each instance": ("10.20.0.12", "10.20.4.41", "tcp", 11112),
    "commitment is reported from each instance": ("10.20.0.11", "10.20.3.21", "tcp", 104),
    "a prober asks every instance": ("10.0.0.5", "10.20.0.12", "tcp", 11112),
    "a prober asks the virtual address": ("10.0.0.9", "10.20.0.100", "tcp", 104),
    "the host of verify.from asks": ("10.20.0.11", "10.20.3.21", "tcp", 104),
    "another prober asks for itself": ("10.0.0.9", "10.20.3.21", "tcp", 104),
    "HAProxy and its check reach the other member": ("10.20.0.11", "10.20.0.12", "tcp", 11112),
    "VRRP to the other member": ("10.20.0.12", "10.20.0.11", "112", None),
    "VRRP back again": ("10.20.0.11", "10.20.0.12", "112", None),
    "SSH from the controller": ("10.0.0.5", "10.20.0.11", "tcp", 22),
    "SSH through the jump host": ("10.20.0.11", "10.20.0.12", "tcp", 2222),
    "NAT: the address that north sees": ("10.20.0.11", "203.0.113.5", "tcp", 2762),
    "a source with DHCP is not left out": ("?", "10.20.0.100", "tcp", 104),
}
NOT_NEEDED = {
    "SSH past the jump host": ("10.0.0.5", "10.20.0.12", "tcp", 2222),
    "the controller where a host asks": ("10.0.0.5", "10.20.3.21", "tcp", 104),
    "a member to itself": ("10.20.0.11", "10.20.0.11", "tcp", 11112),
    "a flow past the virtual address": ("10.20.3.21", "10.20.0.11", "tcp", 11112),
    "VRRP's multicast group beside unicast": ("10.20.0.11", "224.0.0.18", "112", None),
    "the address behind NAT": ("10.20.0.11", "192.168.7.5", "tcp", 2762),
}


@pytest.mark.parametrize("what", NEEDED)
def test_what_must_be_let_through_is_listed(what: str) -> None:
    assert NEEDED[what] in rules()


@pytest.mark.parametrize("what", NOT_NEEDED)
def test_what_nothing_needs_is_no_hole(what: str) -> None:
    assert NOT_NEEDED[what] not in rules()


def vrrp_rules(*changes: tuple[str, str]) -> set[tuple[str, str]]:
    return {(source, destination) for source, destination, protocol, _ in rules(*changes) if protocol == "112"}


def test_only_where_unicast_cannot_be_the_multicast_group_is_let_through() -> None:
    both_ways = {("10.20.0.11", "10.20.0.12"), ("10.20.0.12", "10.20.0.11")}
    assert vrrp_rules() == both_ways
    by_name = ("    address: 10.20.0.12\n", "    address: pacs-2.example\n")
    assert vrrp_rules(by_name) == {("10.20.0.11", "224.0.0.18"), ("pacs-2.example", "224.0.0.18")}
    two_families = ("addresses: [10.20.0.100/24,", "addresses: [2001:db8::100/64, 10.20.0.100/24,")
    assert vrrp_rules(two_families) == {*both_ways, ("?", "ff02::12")}
    alone = ("priority: {pacs-1: 110, pacs-2: 100}", "priority: {pacs-1: 110}")
    assert vrrp_rules(alone) == {("10.20.0.11", "224.0.0.18")}


def test_a_rule_stands_once_with_all_its_reasons() -> None:
    why = rules()["10.20.0.11", "10.20.0.12", "tcp", 11112]
    assert why == ("HAProxy of pacs to its members", "health check of pacs")


def test_nat_is_explained_where_two_sides_see_different_addresses() -> None:
    (why,) = (w for w in rules()["10.20.0.11", "203.0.113.5", "tcp", 2762] if w.startswith("storage"))
    assert why == "storage: PACS to TELERAD (NAT: TELERAD is 192.168.7.5 at outside, 203.0.113.5 from north)"


def test_a_box_that_is_never_probed_needs_no_way_for_the_controller() -> None:
    changed = ("WS01, kind: workstation,", 'WS01, kind: workstation, verify: {probe: never, reason: "fragile"},')
    assert ("10.0.0.5", "10.20.4.41", "tcp", 11112) in rules()
    assert ("10.0.0.5", "10.20.4.41", "tcp", 11112) not in rules(changed)
    assert ("10.0.0.9", "10.20.4.41", "tcp", 11112) in rules(changed)


def test_one_entity_gets_only_the_rules_that_touch_it() -> None:
    found = rules(of="TELERAD")
    assert {destination for _, destination, _, _ in found} == {"203.0.113.5", "192.168.7.5"}
    assert set(found) < set(rules())


def test_rules_are_sorted_by_number_and_come_out_the_same() -> None:
    inventory = load()
    found = make_firewall(Peers(inventory))
    assert found == make_firewall(Peers(load()))
    sources = [rule.source for rule in found if rule.source.startswith("10.")]
    assert sources.index("10.0.0.9") < sources.index("10.20.0.11") < sources.index("10.20.3.21")
    assert len({(r.source, r.destination, r.protocol, r.port) for r in found}) == len(found)
    assert all(rule.why for rule in found)
