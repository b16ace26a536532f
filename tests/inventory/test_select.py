"""The grammar of selectors: a table, and a naive evaluator that agrees on any of them."""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import EmptySelection
from fleet.inventory.model import Entity, Inventory
from fleet.inventory.select import Selectors
from fleet.validate.reading import Reading
from tests.inventory.reading import FLEET, read_files

TEXT = """
site: north
labels: {region: east}
hosts:
  h1: {address: 10.0.0.1, labels: {rack: A}}
  h2: {address: 10.0.0.2}
groups:
  core: "kind=archive, kind=relay"
  deep: "core !h2"
  lone: h2
  me: "you"
  you: "me"
entities:
  - {ae_title: PACS, kind: archive, instances: [{host: h1, port: 1}, {host: h2, port: 1}]}
  - {ae_title: RELAY, name: gate, kind: relay, instances: [{host: h2, port: 2}]}
  - {ae_title: CT01, kind: modality, modality: CT, address: a, port: 1, labels: {ward: er}, also: [{ae_title: CT01_WL}]}
  - {ae_title: MR01, kind: modality, modality: MR, address: c, port: 1}
  - {ae_title: "AN AE, ODD", kind: other, address: d, port: 1}
  - {ae_title: "kind=relay", kind: other, address: e, port: 1, name: odd}
"""
SOUTH = """
site: south
entities:
  - {ae_title: CT02, kind: modality, modality: CT, address: b, port: 1}
"""


def read(root: Path, text: str = TEXT) -> Reading:
    """The northern text, and the southern beside it."""
    return read_files(root, {"north.yml": FLEET + text, "south.yml": SOUTH})


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    reading = read(tmp_path_factory.mktemp("select"))
    assert reading.problems == ()
    return reading.loaded.inventory


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("PACS", "PACS"),
        (" PACS ", "PACS"),
        ("gate", "RELAY"),
        ("CT01_WL", "CT01"),
        ("h2", "PACS RELAY"),
        ("core", "PACS RELAY"),
        ("deep", ""),
        ("all", "PACS RELAY CT01 CT02 MR01 ODD odd"),
        ("kind=modality", "CT01 CT02 MR01"),
        ("kind=modality site=north", "CT01 MR01"),
        ("kind=modality,PACS", "PACS CT01 CT02 MR01"),
        ("kind=modality !CT01, PACS", "PACS CT02 MR01"),
        ("!kind=modality site=north", "PACS RELAY ODD odd"),
        ("CT*", "CT01 CT02"),
        ("?R01", "MR01"),
        ("[CM]?01", "CT01 MR01"),
        ("modality=[CM]*", "CT01 CT02 MR01"),
        ("label.region=east CT*", "CT01"),
        ("region=east CT*", "CT01"),
        ("ward=er", "CT01"),
        ("name=CT0*", "CT01 CT02"),
        ("AN AE, ODD", "ODD"),
        ("'AN AE, ODD'", "ODD"),
        ("'AN AE, ODD', PACS", "PACS ODD"),
        ("!'AN AE, ODD' kind=other", "odd"),
        ("site='north' kind='relay'", "RELAY"),
    ],
)
def test_a_selector_means(inventory: Inventory, text: str, titles: str) -> None:
    wanted = titles.split()
    selectors = Selectors(inventory)
    if not wanted:
        with pytest.raises(EmptySelection, match="matches no"):
            selectors.entities(text)
        return
    short = {"AN AE, ODD": "ODD", "kind=relay": "odd"}
    assert {short.get(entity.ae_title, entity.ae_title) for entity in selectors.entities(text)} == set(wanted)


def test_a_text_that_is_whole_a_title_means_that(inventory: Inventory) -> None:
    assert [entity.name for entity in Selectors(inventory).entities("kind=relay")] == ["odd"]


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("all", "h1 h2"),
        ("PACS", "h1 h2"),
        ("gate", "h2"),
        ("kind=archive !gate", "h1"),
        ("rack=A", "h1"),
        ("lone", "h2"),
        ("h*", "h1 h2"),
        ("site=north !h1", "h2"),
    ],
)
def test_a_host_has_the_words_of_what_runs_on_it(inventory: Inventory, text: str, hosts: str) -> None:
    assert [host.name for host in Selectors(inventory).hosts(text)] == hosts.split()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NOBODY", "no title, host, name or group"),
        ("PACX", "did you mean 'PACS'"),
        ("kind=archive, NOBODY", "no title, host, name or group"),
        ("'CT*'", "no title, host, name or group"),
        ("kind=archiv, PACS", "no kind; did you mean 'archive'"),
        ("site=nort, PACS", "no site; did you mean 'north'"),
        ("colour=red", "nor a label of anything"),
        ("knd=archive", "nor a label of anything; did you mean 'kind'?"),
        ("kind:archive", "matches nothing; did you mean 'kind=archive'?"),
        ("kind = archive", "matches nothing; write key=value without spaces"),
        ("kind =archive", "matches nothing; write key=value without spaces"),
        ("kind= archive", "is no kind: write kind=… without spaces"),
        ("modality=XA", "matches no entities"),
        ("modality=CTT", "nothing has modality=CTT; did you mean 'CT'"),
        ("ward=radiology kind=modality", "nothing has ward=radiology; there are er; nothing was done"),
        ("label.region=eats", "nothing has region=eats; did you mean 'east'?"),
        ("site=harbour", "no site; there are north, south"),
        ("!all", "matches no entities"),
        ("h1 CT01", "matches no entities"),
        ("", "lacks a term"),
        (",", "lacks a term"),
        ("PACS,", "lacks a term"),
        ("PACS,,CT01", "lacks a term"),
        ("'PACS", "unclosed quote"),
        ("me", "contains itself"),
    ],
)
def test_a_selector_that_means_nothing_is_an_error(inventory: Inventory, text: str, reason: str) -> None:
    with pytest.raises(EmptySelection, match=reason):
        Selectors(inventory).entities(text)


def test_what_is_typed_but_broken_is_not_called_unknown(tmp_path: Path) -> None:
    reading = read(tmp_path, TEXT + "  - {ae_title: BROKEN, kind: x}\n")
    assert [entity.ae_title for entity in Selectors(reading.loaded.inventory).entities("PACS, BROKEN")] == ["PACS"]


def test_why_a_selector_matches_neither_entities_nor_hosts(inventory: Inventory) -> None:
    selectors = Selectors(inventory)
    assert selectors.matches_nothing("rack=A") is None
    assert selectors.matches_nothing("kind=modality") is None
    assert "matches no entities or hosts" in (selectors.matches_nothing("kind=printer") or "")


TERMS = st.sampled_from(
    [
        "PACS",
        "CT*",
        "*01",
        "h1",
        "core",
        "all",
        "kind=modality",
        "kind=*",
        "site=south",
        "modality=CT",
        "ward=er",
        "gate",
    ]
)
SELECTORS = st.lists(st.lists(st.tuples(st.booleans(), TERMS), min_size=1, max_size=3), min_size=1, max_size=3)


def matches(entity: Entity, term: str) -> bool:
    """One term, read off the page."""
    if term == "all":
        return True
    if term == "core":
        return entity.kind in ("archive", "relay")
    key, equals, pattern = term.partition("=")
    if equals:
        value = entity.labels.get(key) if key == "ward" else getattr(entity, key)
        return value is not None and fnmatchcase(value, pattern)
    words = {*entity.titles, entity.name, *(instance.host for instance in entity.instances)}
    return any(fnmatchcase(word, term) for word in words)


@given(SELECTORS)
def test_any_selector_equals_a_naive_evaluation(inventory: Inventory, selector: list[list[tuple[bool, str]]]) -> None:
    text = ", ".join(" ".join(("!" if negated else "") + term for negated, term in terms) for terms in selector)
    wanted = [
        entity.name
        for entity in inventory.entities
        if any(all(matches(entity, term) != negated for negated, term in terms) for terms in selector)
    ]
    try:
        found = [entity.name for entity in Selectors(inventory).entities(text)]
    except EmptySelection:
        found = []
    assert found == wanted
