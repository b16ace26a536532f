"""What changed since somebody typed it, and which boxes that leaves open."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from fleet.sheet.boxes import Sheet
from fleet.sheet.changes import BoxState, changed_since, compare_sheets, decide_boxes, open_boxes
from tests.sheet.fleets import sheet


@dataclass(frozen=True)
class Stored:
    """A mark as the history gives it back."""

    digest: str
    sheet: dict[str, Any]
    kind: str = "done"


def mark(page: Sheet, kind: str = "done") -> Stored:
    stored = json.loads(json.dumps(page.to_json()))
    return Stored(stored["digest"], stored, kind)


CASES: list[tuple[str, str, str, str, list[str]]] = [
    (
        "WS01",
        "port: 104\n    via",
        "port: 105\n    via",
        "a peer's port",
        ["change peer PACS (is called by this box): port was 104 and is 105"],
    ),
    (
        "CT01",
        "10.20.0.100/24",
        "10.20.0.101/24",
        "a virtual address",
        ["change peer PACS (is called by this box): address was 10.20.0.100 10.20.0.99 and is 10.20.0.101 10.20.0.99"],
    ),
    (
        "WS01",
        "  - {ae_title: NAGIOS, addresses: [10.0.0.9]}\n",
        "",
        "a prober that goes",
        ["take out peer NAGIOS (calls this box): address 10.0.0.9, services verification"],
    ),
    (
        "US01",
        '  - {from: "kind=modality", to: "kind=worklist", services: [worklist]}\n',
        "",
        "a flow that goes",
        ["take out peer MWL (is called by this box): address 10.20.0.11, port 11113, services worklist"],
    ),
    (
        "CT01",
        "address: 10.20.3.21, port: 104",
        "address: 10.20.3.22, port: 105",
        "the box itself moves",
        ["its own address was 10.20.3.21 and is 10.20.3.22", "change own title CT01: port was 104 and is 105"],
    ),
    ("CT01", 'contact: "the vendor\'s desk"', 'contact: "x"', "nothing to type", []),
]


@pytest.mark.parametrize(("title", "before", "after", "what", "told"), CASES, ids=[case[3] for case in CASES])
def test_what_changed_is_told_as_what_to_do(title: str, before: str, after: str, what: str, told: list[str]) -> None:
    old, new = sheet(title), sheet(title, (before, after))
    assert list(changed_since(mark(old).sheet, new)) == told, what
    assert (old.digest == new.digest) == (not told)


def test_a_peer_that_comes_is_to_be_added() -> None:
    old = sheet("WS01", ("  - {ae_title: NAGIOS, addresses: [10.0.0.9]}\n", ""))
    assert changed_since(mark(old).sheet, sheet("WS01")) == (
        "add peer NAGIOS (calls this box): address 10.0.0.9, services verification",
    )


def test_before_the_first_apply_no_box_is_open_and_all_are_unconfirmed() -> None:
    statuses = decide_boxes([sheet("CT01"), sheet("WS01")], {})
    assert [status.state for status in statuses] == [BoxState.UNCONFIRMED] * 2


def test_what_the_first_apply_assumed_stays_unconfirmed_until_it_changes() -> None:
    page = sheet("CT01")
    (same,) = decide_boxes([page], {"CT01": mark(page, "assumed")})
    (changed,) = decide_boxes([sheet("CT01", ("port: 11113", "port: 11114"))], {"CT01": mark(page, "assumed")})
    assert same.state is BoxState.UNCONFIRMED
    assert (changed.state, changed.why, len(changed.changes)) == (BoxState.OPEN, "1 to change since the first apply", 1)


def test_a_box_that_is_done_opens_with_its_next_change_and_closes_again() -> None:
    before, after = sheet("CT01"), sheet("CT01", ("port: 11113", "port: 11114"))
    assert decide_boxes([before], {"CT01": mark(before)})[0].state is BoxState.DONE
    (status,) = open_boxes([after], {"CT01": mark(before)})
    assert status.why == "1 to change since it was marked done"
    assert open_boxes([after], {"CT01": mark(after)}) == ()


def test_a_box_that_comes_after_the_first_apply_is_open_at_once() -> None:
    (status,) = open_boxes([sheet("CT01"), sheet("WS01")], {"WS01": mark(sheet("WS01"), "assumed")})
    assert (status.sheet.box, status.state) == ("CT01", BoxState.OPEN)
    assert status.why.startswith("new")


def test_a_mark_of_an_older_fleet_that_lacks_a_key_is_a_change_and_no_crash() -> None:
    page = sheet("CT01")
    stored = mark(page).sheet
    for row in stored["peers"]:
        del row["as_titles"]
    assert changed_since(stored, page)
    assert changed_since({}, page)


def test_two_inventories_are_compared_box_by_box_whatever_was_marked() -> None:
    changed = ("port: 11113", "port: 11114")
    old = [sheet("CT01"), sheet("VENDOR_PACS")]
    new = [sheet("CT01", changed), sheet("VENDOR_PACS", changed), sheet("WS01", changed)]
    assert [(status.state, status.why) for status in compare_sheets(old, new, "r1")] == [
        (BoxState.OPEN, "1 to change since r1"),
        (BoxState.UNCHANGED, "unchanged since r1"),
        (BoxState.OPEN, "new since r1"),
    ]
