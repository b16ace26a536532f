"""Who talks to whom, under which title, from and to which address."""

import time
from pathlib import Path

import pytest

from fleet.inventory.model import Inventory
from fleet.inventory.peers import Peer, Peers, titles_for
from fleet.validate.reading import Reading
from tests.inventory.reading import FLEET, read_files, read_text

TEXT = """
site: north
hosts:
  h1: {address: 10.0.0.1}
  h2: {address: 10.0.0.2}
probers: [{ae_title: PROBE, addresses: [10.9.0.1]}]
virtual_services:
  - name: v
    entity: PACS
    addresses: [{address: 10.0.0.99/24, until: "2030-01-01"}, 10.0.0.100/24]
    port: 104
    check: {calling: CHECK}
flows:
  - {from: "kind=modality", to: "kind=archive", within: site, services: [storage, worklist]}
  - {from: "kind=workstation", to: PACS, services: [query-retrieve]}
entities:
  - {ae_title: PACS, kind: archive, provides: [storage], instances: [
      {host: h1, port: 11112}, {host: h2, port: 11112, address: 10.1.0.2}]}
  - {ae_title: CT, kind: modality, address: 10.0.3.1, port: 104,
     also: [{ae_title: CT_WL, listens: false, for: [worklist]}, {ae_title: CT_MORE, port: 105}]}
  - {ae_title: US, kind: modality, address: 10.0.3.2, listens: false}
  - {ae_title: CART, kind: modality, address: dhcp, port: 104}
  - {ae_title: MUTE, kind: workstation, address: 10.0.4.2, listens: false}
  - {ae_title: SAFE, kind: other, address: 10.0.5.1, port: 104, tls: {port: 2762}}
  - {ae_title: QUIET, kind: other, address: 10.0.5.2, listens: false, also: [{ae_title: LOUD, listens: true, port: 7}]}
"""
SOUTH = """
site: south
entities:
  - {ae_title: FAR, kind: modality, address: 10.7.0.1, port: 104}
  - {ae_title: WS, kind: workstation, address: 10.0.4.1, port: 11112, seen_as: {north: 172.16.0.1},
     also: [{ae_title: WS_STORE, port: 4006, for: [storage]}]}
"""


def read(root: Path, text: str) -> Reading:
    """The northern text, and the southern beside it."""
    return read_files(root, {"north.yml": FLEET + text, "south.yml": SOUTH})


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    reading = read(tmp_path_factory.mktemp("peers"), TEXT)
    assert reading.problems == ()
    return reading.loaded.inventory


@pytest.fixture(scope="module")
def peers(inventory: Inventory) -> Peers:
    return Peers(inventory)


def show(found: tuple[Peer, ...]) -> list[tuple[str, str, str, str | None, int | None]]:
    return [(peer.ae_title, " ".join(peer.services), " ".join(peer.sources), peer.address, peer.port) for peer in found]


def test_an_archive_is_called_by_everybody_of_its_flows_then_checks_then_probers(
    inventory: Inventory, peers: Peers
) -> None:
    assert show(peers.callers_of(inventory.by_title["PACS"])) == [
        ("CART", "storage worklist", "", None, None),
        ("CT", "storage", "10.0.3.1", "10.0.3.1", 104),
        ("CT_MORE", "storage worklist", "10.0.3.1", "10.0.3.1", 105),
        ("CT_WL", "worklist", "10.0.3.1", None, None),
        ("MUTE", "query-retrieve", "10.0.4.2", None, None),
        ("US", "storage worklist", "10.0.3.2", None, None),
        ("WS", "query-retrieve", "172.16.0.1", "172.16.0.1", 11112),
        ("CHECK", "verification", "10.0.0.1 10.1.0.2", None, None),
        ("PROBE", "verification", "10.9.0.1", None, None),
    ]


def test_within_site_pairs_only_neighbours(inventory: Inventory, peers: Peers) -> None:
    assert peers.called_by(inventory.by_title["FAR"]) == ()


def test_a_peer_is_told_the_virtual_address_that_will_stay_and_the_instances_as_sources(
    inventory: Inventory, peers: Peers
) -> None:
    assert show(peers.called_by(inventory.by_title["US"])) == [
        ("PACS", "storage worklist", "10.0.0.1 10.1.0.2", "10.0.0.100", 104)
    ]
    assert peers.destinations_of(inventory.by_title["PACS"], "north") == (("10.0.0.100", 104), ("10.0.0.99", 104))


def test_images_come_back_to_the_title_that_stands_for_storage(inventory: Inventory, peers: Peers) -> None:
    assert show(peers.move_destinations_of(inventory.by_title["PACS"])) == [
        ("WS_STORE", "storage", "172.16.0.1", "172.16.0.1", 4006)
    ]


def test_an_archive_calls_whoever_queries_it_and_is_among_their_callers(inventory: Inventory, peers: Peers) -> None:
    assert show(peers.called_by(inventory.by_title["PACS"])) == [
        ("WS_STORE", "storage", "172.16.0.1", "172.16.0.1", 4006)
    ]
    assert show(peers.entity_callers(inventory.by_title["WS"])) == [
        ("PACS", "storage", "10.0.0.1 10.1.0.2", "10.0.0.100", 104)
    ]
    assert peers.entity_callers(inventory.by_title["MUTE"]) == ()


@pytest.mark.parametrize(
    ("title", "service", "called", "titles"),
    [
        ("CT", "storage", False, ("CT", "CT_MORE")),
        ("CT", "worklist", False, ("CT_WL", "CT_MORE")),
        ("CT", "worklist", True, ("CT", "CT_MORE")),
        ("WS", "storage", True, ("WS_STORE",)),
        ("WS", "query-retrieve", False, ("WS",)),
        ("US", "storage", True, ()),
        ("QUIET", "storage", False, ("QUIET", "LOUD")),
        ("QUIET", "storage", True, ("LOUD",)),
    ],
)
def test_a_further_title_stands_for_the_main_one_in_its_services(
    inventory: Inventory, title: str, service: str, called: bool, titles: tuple[str, ...]
) -> None:
    assert titles_for(inventory.by_title[title], service, called=called) == titles


@pytest.mark.parametrize(
    ("title", "site", "sources", "places"),
    [
        ("WS", "north", ["172.16.0.1"], [("172.16.0.1", 11112)]),
        ("WS", "south", ["10.0.4.1"], [("10.0.4.1", 11112)]),
        ("CART", "north", [], []),
        ("US", "north", ["10.0.3.2"], []),
        ("SAFE", "north", ["10.0.5.1"], [("10.0.5.1", 2762)]),
    ],
)
def test_an_address_is_what_the_looking_site_sees(
    peers: Peers, title: str, site: str, sources: list[str], places: list[tuple[str, int]]
) -> None:
    entity = peers.inventory.by_title[title]
    assert list(peers.sources_of(entity, site)) == sources
    assert list(peers.destinations_of(entity, site)) == places


def test_a_listening_title_of_a_silent_machine_is_called_at_its_address(tmp_path: Path) -> None:
    text = TEXT.replace("flows:\n", "flows:\n  - {from: CT, to: QUIET, services: [storage]}\n")
    inventory = read(tmp_path, text).loaded.inventory
    found = [peer for peer in Peers(inventory).called_by(inventory.by_title["CT"]) if peer.ae_title == "LOUD"]
    assert show(tuple(found)) == [("LOUD", "storage", "10.0.5.2", "10.0.5.2", 7)]


def test_health_checks_of_an_appliance_come_from_where_its_script_is_put(tmp_path: Path) -> None:
    script = "    via: external\n    script: {path: /x/check, echoscu: /usr/bin/echoscu, where: h2}\n"
    inventory = read(
        tmp_path, TEXT.replace("    port: 104\n    check", f"    port: 104\n{script}    check")
    ).loaded.inventory
    peers = Peers(inventory)
    assert [peer.sources for peer in peers.health_checks_of(inventory.by_title["PACS"])] == [("10.0.0.2",)]
    assert peers.members_of(inventory.virtual_services[0]) == ("10.0.0.1", "10.1.0.2")


def test_tables_within_sites_grow_with_the_sites_and_not_with_their_square(tmp_path: Path) -> None:
    def spend(sites: int) -> float:
        lines = "".join(
            f"  - {{ae_title: A{site}_{number}, kind: {kind}, address: 10.0.0.1, port: 1, site: s{site}}}\n"
            for site in range(sites)
            for number, kind in enumerate(["archive", *["modality"] * 9])
        )
        text = 'flows: [{from: "kind=modality", to: "kind=archive", within: site, services: [storage]}]\nentities:\n'
        inventory = read_text(tmp_path / f"{sites}", text + lines).loaded.inventory
        peers = Peers(inventory)
        started = time.process_time()
        assert sum(len(peers.entity_callers(entity)) for entity in inventory.entities) == sites * 9
        return time.process_time() - started

    small, large = min(spend(50) for _ in range(3)), min(spend(200) for _ in range(3))
    assert large < 8 * small  # four times the sites; the square would be sixteen
