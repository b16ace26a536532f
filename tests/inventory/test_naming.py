"""Proposed titles are free, plain and short; where there is none, the reason is told."""

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.dicom.ae_title import fold_ae_title, is_plain_ae_title
from fleet.errors import EmptySelection
from fleet.inventory.model import Inventory
from fleet.inventory.naming import Example, check_pattern, find_examples, propose_titles
from fleet.inventory.select import Selectors
from tests.inventory.reading import read_text

TODAY = datetime.date(2026, 11, 20)
PATTERN = "{label.code}_{code}{number:02}"
TEXT = """
fleet:
  name: a
  naming:
    pattern: "{label.code}_{code}{number:02}"
    codes: {archive: PACS, workstation: WS, modality: "{modality}"}
site: north
labels: {code: NORTH}
probers: [{ae_title: NORTH_CT03, addresses: [10.0.0.9]}]
retired_titles:
  - {ae_title: NORTH_CT04, until: "2027-01-01"}
  - {ae_title: NORTH_CT06, until: "2026-11-20"}
entities:
  - {ae_title: NORTH_CT01, kind: modality, modality: CT, address: a, port: 1, labels: {ward: er}}
  - {ae_title: north_ct02, kind: modality, modality: CT, address: b, port: 1}
  - {ae_title: NORTH_MR01, kind: modality, modality: MR, address: c, port: 1, also: [{ae_title: NORTH_CT05}]}
  - {ae_title: PC, kind: workstation, address: d, port: 1, labels: {code: ODD}}
  - {ae_title: BOX, kind: printer, address: e, port: 1}
"""


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    reading = read_text(tmp_path_factory.mktemp("naming"), TEXT)
    assert reading.problems == ()
    return reading.loaded.inventory


CT = Example("north", "modality", "CT", {"code": "NORTH"})


def test_the_first_free_titles_are_proposed(inventory: Inventory) -> None:
    """01 is borne, 02 by a case twin, 03 is a prober's, 04 is retired, 05 is a further title, 06 is free again."""
    proposal = propose_titles(inventory, PATTERN, CT, TODAY, 2)
    assert (proposal.titles, proposal.obstacle) == (("NORTH_CT06", "NORTH_CT07"), "")


@pytest.mark.parametrize(
    ("pattern", "example", "reason"),
    [
        ("{label.nosuch}{number}", CT, "wants the label 'nosuch'"),
        ("{modality}{number}", Example("north", "archive"), "wants the modality, which this archive has none of"),
        ("{code}{number}", Example("north", "printer"), "naming.codes has none for the kind printer"),
        ("{label.code}_{code}_RADIOLOGY{number:02}", CT, "16 is the most"),
        ("{label.code}_{code}01", CT, "is borne by NORTH_CT01"),
        ("{label.code}_{code}{number:1}", Example("north", "modality", "CT", {"code": "A B"}), "characters that not"),
        ("{nosuch}", CT, "has the field {nosuch}"),
    ],
)
def test_a_pattern_that_gives_nothing_says_why(
    inventory: Inventory, pattern: str, example: Example, reason: str
) -> None:
    proposal = propose_titles(inventory, pattern, example, TODAY)
    assert proposal.titles == ()
    assert reason in proposal.obstacle


def test_a_number_that_runs_out_gives_what_there_was_and_says_so(inventory: Inventory) -> None:
    proposal = propose_titles(inventory, "X{number:1}", CT, TODAY, 12)
    assert proposal.titles == tuple(f"X{number}" for number in range(1, 10))
    assert "no further free title" in proposal.obstacle


@pytest.mark.parametrize(
    ("pattern", "legal"),
    [
        ("{site}{kind}{modality}{code}{label.x-y}{number}{number:02}{number:3}", True),
        ("PLAIN_1.2-3", True),
        ("{number:0}", False),
        ("{number:02d}", False),
        ("{site", False),
        ("site}", False),
        ("{label.}", False),
        ("{site.__class__}", False),
        ("{}", False),
        ("A B{number}", False),
        ("Ä{number}", False),
    ],
)
def test_a_pattern_has_only_fields_that_there_are(pattern: str, legal: bool) -> None:
    assert (check_pattern(pattern) is None) == legal


def test_a_code_holds_no_code_and_no_number() -> None:
    assert check_pattern("{modality}", code=True) is None
    assert check_pattern("{code}", code=True) is not None
    assert check_pattern("{number}", code=True) is not None


def test_examples_are_the_sorts_of_entities_that_a_selector_means(inventory: Inventory) -> None:
    found = find_examples(inventory, Selectors(inventory), "kind=modality")
    assert [(example.kind, example.modality) for example in found] == [("modality", "CT"), ("modality", "MR")]
    (pc,) = find_examples(inventory, Selectors(inventory), "PC")
    assert pc.labels["code"] == "NORTH"  # its own label is its own; the site's is its neighbour's too


def test_a_sort_that_is_not_there_yet_can_be_said_outright(inventory: Inventory) -> None:
    (found,) = find_examples(inventory, Selectors(inventory), "site=north kind=modality modality=XA room=9")
    assert found == Example("north", "modality", "XA", {"code": "NORTH", "room": "9"})
    assert propose_titles(inventory, PATTERN, found, TODAY).titles == ("NORTH_XA01",)


@pytest.mark.parametrize(
    "text",
    [
        "site=west kind=modality",
        "kind=printer site=",
        "site=north kind=archiv",
        "X*",
        "kind=relay site=north, X",
        "!all",
    ],
)
def test_what_is_neither_there_nor_said_outright_is_an_error(inventory: Inventory, text: str) -> None:
    with pytest.raises(EmptySelection):
        find_examples(inventory, Selectors(inventory), text)


@given(
    pattern=st.lists(
        st.sampled_from(
            ["{site}", "{kind}", "{modality}", "{code}", "{label.code}", "_", "A", "{number}", "{number:02}"]
        ),
        min_size=1,
        max_size=6,
    ).map("".join),
    modality=st.sampled_from(["CT", "MR", "OP"]),
    count=st.integers(1, 12),
)
def test_whatever_is_proposed_is_free_legal_and_no_twin(
    inventory: Inventory, pattern: str, modality: str, count: int
) -> None:
    example = Example("north", "modality", modality, {"code": "NORTH"})
    proposal = propose_titles(inventory, pattern, example, TODAY, count)
    taken = {fold_ae_title(title) for title in inventory.by_title}
    assert len(proposal.titles) == count or proposal.obstacle
    assert len({fold_ae_title(title) for title in proposal.titles}) == len(proposal.titles)
    for title in proposal.titles:
        assert is_plain_ae_title(title)
        assert fold_ae_title(title) not in taken


def test_a_title_typed_in_a_broken_entity_is_not_free(tmp_path: Path) -> None:
    inventory = read_text(tmp_path, TEXT + "  - {ae_title: NORTH_CT06, kind: x}\n").loaded.inventory
    assert propose_titles(inventory, PATTERN, CT, TODAY).titles == ("NORTH_CT07",)
