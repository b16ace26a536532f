"""Titles over all code points, lengths, cases and thousands of entities."""

import tempfile
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import Problem, Severity
from fleet.inventory.model import Entity, Inventory, Prober
from fleet.inventory.peers import Peers
from fleet.validate.check import check_inventory
from fleet.validate.context import Context
from fleet.validate.reading import read_inventory
from fleet.validate.rules import ae_title_case_twin, ae_title_duplicate, ae_title_grammar

TODAY = date(2026, 11, 20)
LEGAL = frozenset(map(chr, range(0x20, 0x7F))) - {"\\"}  # PS3.5 6.2, VR AE: ISO 646 without backslash
HEAD = "fleet: {name: t}\nsite: a\nprobers: [{ae_title: FLEET_SCU, addresses: [10.0.0.5]}]\nentities:\n"


def context_of(titles: list[str]) -> Context:
    entities = tuple(
        Entity(ae_title=title, name=f"e{index}", kind="other", site="a", listens=False)
        for index, title in enumerate(titles)
    )
    inventory = Inventory("t", "0", {}, {}, entities, probers=(Prober("FLEET_SCU", ("10.0.0.5",)),))
    peers = Peers(inventory)
    return Context(inventory, peers, peers.selectors, TODAY)


def is_legal(title: str) -> bool:
    trimmed = title.strip(" ")
    return 1 <= len(trimmed) <= 16 and set(trimmed) <= LEGAL


@pytest.mark.parametrize("shape", ["{}AB", "A{}B", "AB{}"])
def test_every_code_point_at_every_position_is_judged_by_the_grammar(shape: str) -> None:  # T01
    titles = [shape.format(chr(point)) for point in range(0x10000)]
    told = {problem.subjects[0] for problem in ae_title_grammar.check(context_of(titles))}
    assert told == {title for title in titles if not is_legal(title)}


def test_an_illegal_title_in_a_file_is_told_at_its_line_and_column(tmp_path: Path) -> None:  # T01
    points = [point for point in range(0x10000) if not 0xD800 <= point < 0xE000]
    lines = (f'  - {{ae_title: "A\\u{point:04X}{point:X}", kind: other, listens: false}}\n' for point in points)
    path = tmp_path / "a.yml"
    path.write_text(HEAD + "".join(lines), encoding="utf-8")
    reading = read_inventory(path)
    inventory = reading.loaded.inventory
    peers = Peers(inventory)
    told = list(ae_title_grammar.check(Context(inventory, peers, peers.selectors, TODAY)))
    first = HEAD.count("\n") + 1
    assert [(each.location.line, each.location.column) for each in told] == [
        (first + index, 16) for index, point in enumerate(points) if chr(point) not in LEGAL
    ]
    assert all(each.severity is Severity.ERROR for each in told)


def test_what_an_illegal_title_holds_is_not_printed_raw(tmp_path: Path) -> None:  # T01
    path = tmp_path / "a.yml"
    text = r'  - {ae_title: "A\e[31m\n\u2028B", kind: other, listens: false}'
    path.write_text(HEAD + text + "\n", encoding="utf-8")
    inventory = read_inventory(path).loaded.inventory
    for problem in check_inventory(inventory, Peers(inventory), TODAY):
        assert problem.message.isprintable(), problem.message


TITLES = st.text(st.sampled_from("ABab1 "), max_size=20)


@given(TITLES)
def test_length_and_blanks_decide(title: str) -> None:  # T04
    told = list(ae_title_grammar.check(context_of([title])))
    assert bool(told) is not is_legal(title)


@given(st.lists(st.text(st.sampled_from("ABab"), min_size=1, max_size=3), max_size=12))
@settings(max_examples=300)
def test_two_titles_are_told_exactly_when_equal_or_twins(titles: list[str]) -> None:  # T04, T05
    context = context_of(titles)
    duplicates = list(ae_title_duplicate.check(context))
    twins = list(ae_title_case_twin.check(context))
    assert len(duplicates) == len(titles) - len(set(titles))
    assert len(twins) == len(set(titles)) - len({title.casefold() for title in titles})


@given(st.text(st.sampled_from("ABC_1"), min_size=1, max_size=10), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_outer_spaces_make_no_second_title(title: str, before: int, after: int) -> None:  # T04
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.yml"
        padded = " " * before + title + " " * after
        rows = (f'  - {{ae_title: "{each}", kind: other, listens: false}}\n' for each in (title, padded))
        path.write_text(HEAD + "".join(rows), encoding="utf-8")
        codes = [problem.code for problem in check(path)]
    assert "ae-title-duplicate" in codes


def check(path: Path) -> tuple[Problem, ...]:
    inventory = read_inventory(path).loaded.inventory
    return check_inventory(inventory, Peers(inventory), TODAY)


def test_a_duplicate_among_five_thousand_is_told_with_both_places(tmp_path: Path) -> None:  # T05
    (tmp_path / "a.yml").write_text(HEAD + "".join(row(number) for number in range(2500)), encoding="utf-8")
    rows = [row(number) for number in range(2500, 5000)]
    rows[1999] = rows[1999].replace("AE_04499", "AE_01234")
    (tmp_path / "b.yml").write_text("site: b\nentities:\n" + "".join(rows), encoding="utf-8")
    (problem,) = check(tmp_path)
    assert problem.code == "ae-title-duplicate"
    assert (Path(problem.location.document).name, problem.location.line) == ("b.yml", 2 + 2000)
    (other,) = problem.also
    assert (Path(other.document).name, other.line) == ("a.yml", 4 + 1235)
    assert str(other) in problem.message


def row(number: int) -> str:
    return f"  - {{ae_title: AE_{number:05}, kind: modality, address: 10.{number >> 8}.{number & 255}.1, port: 104}}\n"


ARCHIVE = """hosts:
  h1:
    address: 10.0.0.11
    host_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f]
flows: [{from: kind=modality, to: kind=archive, services: [storage]}]
entities:
  - ae_title: A_PACS
    kind: archive
    provides: [storage]
    instances: [{host: h1, port: 11112}]
    run:
      engine: ENGINE
      storage_area: /var/lib/dcmtk/A_PACS
"""
DCMQRSCP = """      access: RW
      max_studies: 100
      max_bytes_per_study: 512mb
      deletes_oldest: accepted
"""


def errors_of_modality(root: Path, title: str, engine: str) -> set[tuple[str, str]]:
    """Severity and code of what is said of one modality that stores to one archive."""
    quoted = "'" + title.replace("'", "''") + "'"
    text = HEAD.removesuffix("entities:\n") + ARCHIVE.replace("ENGINE", engine)
    text += DCMQRSCP if engine == "dcmqrscp" else ""
    path = root / "a.yml"
    row = f"  - {{ae_title: {quoted}, name: peer, kind: modality, address: 10.0.1.1, port: 104}}\n"
    path.write_text(text + row, encoding="utf-8")
    line = text.count("\n") + 1
    return {(each.severity.value, each.code) for each in check(path) if each.location.line == line}


@pytest.mark.parametrize("character", list("\"'{}(),=#!$%;|&`<>~@ a"))
def test_a_legal_title_beyond_the_plain_characters_is_a_warning(tmp_path: Path, character: str) -> None:  # T02
    told = errors_of_modality(tmp_path, f"CT{character}1", "storescp")
    assert told == {("warning", "ae-title-unusual")}


@pytest.mark.parametrize("character", list(" ,()=\"'"))
def test_it_is_an_error_where_a_dcmqrscp_cannot_carry_it(tmp_path: Path, character: str) -> None:  # T02
    assert ("error", "target-cannot-carry") in errors_of_modality(tmp_path, f"CT{character}1", "dcmqrscp")


@pytest.mark.parametrize("word", ["ANY", "BEGIN", "END", "HostTable", "AETable", "VendorTable", "RW", "R", "W"])
def test_a_word_of_dcmqrscp_is_refused_where_it_would_have_to_carry_it(tmp_path: Path, word: str) -> None:  # T03
    assert ("error", "target-cannot-carry") in errors_of_modality(tmp_path, word, "dcmqrscp")
    assert ("error", "target-cannot-carry") not in errors_of_modality(tmp_path, word, "storescp")
