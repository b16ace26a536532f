"""A sheet holds what has to stand in the box: all of it, as seen from there, and nothing else."""

import pytest

from fleet.inventory.model import Entity
from fleet.sheet.boxes import Direction, OwnTitle, Sheet, find_boxes
from tests.sheet.fleets import load, sheet

Row = tuple[str, tuple[str, ...], int | None, tuple[str, ...]]


def rows(page: Sheet, direction: Direction) -> list[Row]:
    return [(row.ae_title, row.addresses, row.port, row.services) for row in page.peers if row.direction is direction]


VIRTUAL = ("10.20.0.100", "10.20.0.99")
MEMBERS = ("10.20.0.11", "10.20.0.12")
VERIFY = ("verification",)

CALLED: dict[str, list[Row]] = {
    # Virtual addresses as destination, the old one too while it lives on.
    "CT01": [("MWL", ("10.20.0.11",), 11113, ("worklist",)), ("PACS", VIRTUAL, 104, ("storage", "storage-commitment"))],
    "US01": [("MWL", ("10.20.0.11",), 11113, ("worklist",)), ("PACS", VIRTUAL, 104, ("storage", "storage-commitment"))],
    "WS01": [
        ("PACS", VIRTUAL, 104, ("query-retrieve", "storage")),
        ("VENDOR_PACS", ("10.20.5.1",), 104, ("query-retrieve",)),
    ],
    # An archive moves to whoever asks it, so it needs the asker's place.
    "VENDOR_PACS": [("WS01", ("10.20.4.41",), 11112, ("storage",))],
    "TELERAD": [],
}
CALLERS: dict[str, list[Row]] = {
    # The commitment's answer comes from the instances; the host of `verify.from` asks beside the controller.
    "CT01": [
        ("FLEET_SCU", ("10.0.0.5", "10.20.0.11"), None, VERIFY),
        ("NAGIOS", ("10.0.0.9",), None, VERIFY),
        ("PACS", MEMBERS, None, ("storage-commitment",)),
    ],
    # Nobody calls a box that does not listen, not even an answer.
    "US01": [],
    # C-MOVE comes back from the instances, not from the virtual address.
    "WS01": [
        ("FLEET_SCU", ("10.0.0.5",), None, VERIFY),
        ("NAGIOS", ("10.0.0.9",), None, VERIFY),
        ("PACS", MEMBERS, None, ("storage",)),
        ("VENDOR_PACS", ("10.20.5.1",), None, ("storage",)),
    ],
    "VENDOR_PACS": [
        ("FLEET_SCU", ("10.0.0.5",), None, VERIFY),
        ("NAGIOS", ("10.0.0.9",), None, VERIFY),
        ("WS01", ("10.20.4.41",), None, ("query-retrieve",)),
    ],
    "TELERAD": [
        ("FLEET_SCU", ("10.0.0.5",), None, VERIFY),
        ("NAGIOS", ("10.0.0.9",), None, VERIFY),
        ("PACS", MEMBERS, None, ("storage",)),
    ],
}


@pytest.mark.parametrize("title", CALLED)
def test_a_box_calls_its_peers_where_they_are_seen_from_it(title: str) -> None:
    assert rows(sheet(title), Direction.IS_CALLED) == CALLED[title]


@pytest.mark.parametrize("title", CALLERS)
def test_a_box_is_called_from_where_its_peers_really_send(title: str) -> None:
    assert rows(sheet(title), Direction.CALLS_BOX) == CALLERS[title]


def test_boxes_are_what_no_engine_of_ours_serves() -> None:
    def titles(entities: tuple[Entity, ...]) -> list[str]:
        return [entity.ae_title for entity in entities]

    assert titles(find_boxes(load())) == ["VENDOR_PACS", "CT01", "US01", "WS01", "TELERAD"]
    taken_off = ("    run: {engine: wlmscpfs, data_files: /var/lib/dcmtk/worklist}\n", "    run: {engine: none}\n")
    assert "MWL" in titles(find_boxes(load(taken_off)))


def test_a_boxs_own_titles_say_where_each_listens_and_what_it_is_for() -> None:
    assert sheet("CT01").own == (
        OwnTitle("CT01", 104, ("storage-commitment", "verification")),
        OwnTitle("CT01_WL", None, ("worklist",)),
    )
    assert sheet("TELERAD").own == (OwnTitle("TELERAD", 2762, ("storage", "verification"), tls=True),)


def test_a_box_with_several_titles_is_told_which_one_to_use_for_whom() -> None:
    used = {(row.ae_title, row.direction): row.as_titles for row in sheet("CT01").peers}
    assert used["MWL", Direction.IS_CALLED] == ("CT01_WL",)
    assert used["PACS", Direction.IS_CALLED] == ("CT01",)
    assert {row.as_titles for row in sheet("WS01").peers} == {()}


def test_behind_nat_a_peer_is_where_the_boxs_site_sees_it() -> None:
    changed = ("WS01, kind: workstation,", "WS01, kind: workstation, seen_as: {outside: 198.51.100.7},")
    flow = ("from: PACS, to: TELERAD", "from: WS01, to: TELERAD")
    caller = next(row for row in sheet("TELERAD", changed, flow).peers if row.ae_title == "WS01")
    assert caller.addresses == ("198.51.100.7",)
    called = next(row for row in sheet("WS01", changed, flow).peers if row.ae_title == "TELERAD")
    assert (called.addresses, called.port, called.tls) == (("203.0.113.5",), 2762, True)


def test_an_archive_of_a_vendor_reports_commitments_to_the_title_that_asked() -> None:
    flow = (
        "to: VENDOR_PACS, services: [query-retrieve]",
        "to: VENDOR_PACS, services: [query-retrieve, storage-commitment]",
    )
    called = rows(sheet("VENDOR_PACS", flow), Direction.IS_CALLED)
    assert called == [("WS01", ("10.20.4.41",), 11112, ("storage", "storage-commitment"))]


def test_a_peer_with_dhcp_has_no_address_to_type() -> None:
    changed = ("address: 10.20.4.41, port: 11112", "address: dhcp, port: 11112")
    found = [row.addresses for row in sheet("VENDOR_PACS", changed).peers if row.ae_title == "WS01"]
    assert found == [(), ()]


def test_a_further_title_with_its_own_port_is_called_there() -> None:
    changed = (
        "kind: other, address: 10.20.5.1, port: 104,",
        "kind: other, address: 10.20.5.1, port: 104, also: [{ae_title: VENDOR_QR, port: 4242, for: [query-retrieve]}],",
    )
    called = [(row.ae_title, row.port) for row in sheet("WS01", changed).peers if row.direction is Direction.IS_CALLED]
    assert ("VENDOR_QR", 4242) in called
    assert all(title != "VENDOR_PACS" for title, _ in called)


UNTYPED = [
    ('description: "emergency room"', 'description: "moved to room 3"'),
    ('contact: "the vendor\'s desk"', 'contact: "somebody"'),
    ("name: mercy", "name: grace"),
]
TYPED = [
    ("address: 10.20.3.21", "address: 10.20.3.22"),
    ("port: 11113", "port: 11114"),
    ("addresses: [10.0.0.9]", "addresses: [10.0.0.10]"),
    ("10.20.0.100/24", "10.20.0.101/24"),
]


@pytest.mark.parametrize("change", UNTYPED)
def test_the_digest_does_not_move_with_what_nobody_types(change: tuple[str, str]) -> None:
    assert sheet("CT01", change).digest == sheet("CT01").digest


@pytest.mark.parametrize("change", TYPED)
def test_the_digest_moves_with_whatever_has_to_be_typed(change: tuple[str, str]) -> None:
    assert sheet("CT01", change).digest != sheet("CT01").digest


def test_the_same_inventory_makes_the_same_sheet() -> None:
    assert sheet("CT01") == sheet("CT01")
    assert sheet("CT01").to_json() == sheet("CT01").to_json()
