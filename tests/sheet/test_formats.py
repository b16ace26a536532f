"""Sheets on paper, in a browser and in a spreadsheet, whoever wrote the names on them."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from fleet.inventory.peers import Peers
from fleet.sheet.boxes import Direction, OwnTitle, PeerRow, Sheet
from fleet.sheet.changes import BoxState, BoxStatus, compare_sheets, decide_boxes
from fleet.sheet.firewall import Rule, make_firewall
from fleet.sheet.formats import (
    format_firewall_csv,
    format_firewall_html,
    format_firewall_text,
    format_sheets_csv,
    format_sheets_html,
    format_sheets_text,
)
from fleet.sheet.trust import Need, TlsNeed
from tests.report.test_canaries import CANARIES
from tests.sheet.fleets import load, sheet


class Page(HTMLParser):
    """The elements, the texts and the attributes of a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile(text: str) -> BoxStatus:
    """A status in which everything that can be text is this text."""
    rows = tuple(PeerRow(d, text, (text,), 104, (text,), False, "entity", (text,)) for d in Direction)
    needs = tuple(TlsNeed(need, text, text, text, (f"{text}{number}",)) for number, need in enumerate(Need))
    page = Sheet(text, f"{text}2", text, (OwnTitle(text, 104, (text,)),), rows, text, text, text, needs)
    return BoxStatus(page, BoxState.OPEN, text, (text,))


def test_a_sheet_is_one_aligned_page() -> None:
    statuses = decide_boxes([sheet("WS01"), sheet("CT01")], {})
    first, second = format_sheets_text(statuses).split("\f")
    assert first.startswith("WS01\n====\n")
    assert second.startswith("CT01\n")
    table = [line for line in first.splitlines() if line.startswith("  ") and "10.20" in line]
    assert {line.index("10.20") for line in table if "PACS" in line} == {15}
    assert "your title" not in first
    assert "CT01_WL" in second


def test_text_has_no_trailing_blanks() -> None:
    text = format_sheets_text(decide_boxes([sheet("CT01")], {})) + format_firewall_text(make_firewall(Peers(load())))
    assert [line for line in text.split("\n") if line != line.rstrip(" ")] == []


def test_what_changed_stands_before_the_tables() -> None:
    status = replace(decide_boxes([sheet("WS01")], {})[0], changes=("add peer X",), why="1 to change")
    text = format_sheets_text([status])
    assert text.index("* add peer X") < text.index("Its own titles")
    assert "add peer X" in format_sheets_html([status])


def test_a_comparison_of_two_runs_never_says_that_a_box_is_done() -> None:
    text = format_sheets_text(compare_sheets([sheet("CT01")], [sheet("CT01")], "r1"))
    assert re.search(r"^ *state: +unchanged since r1$", text, re.MULTILINE)
    assert "done" not in text


def test_html_forbids_everything_but_its_own_style() -> None:
    page = Page(format_sheets_html(decide_boxes([sheet("WS01")], {})))
    policy = dict(page.attributes)["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "script" not in page.tags


@pytest.mark.parametrize("canary", CANARIES)
def test_a_strangers_text_adds_no_element_and_no_attribute(canary: str) -> None:  # T53
    page, plain = Page(format_sheets_html([hostile(CANARIES[canary])])), Page(format_sheets_html([hostile("x")]))
    assert page.tags == plain.tags
    assert page.attributes == plain.attributes
    rule = Rule(CANARIES[canary], CANARIES[canary], "tcp", 1, (CANARIES[canary],))
    listed = Page(format_firewall_html([rule], CANARIES[canary]))
    assert set(listed.tags) <= set(Page(format_firewall_html([replace(rule, why=("x",))], "x")).tags)


@pytest.mark.parametrize("canary", CANARIES)
def test_a_strangers_text_moves_no_terminal(canary: str) -> None:  # T53
    rule = Rule(CANARIES[canary], CANARIES[canary], "tcp", 1, (CANARIES[canary],))
    text = format_sheets_text([hostile(CANARIES[canary])]) + format_firewall_text([rule])
    assert all(char.isprintable() or char == "\n" for char in text)
    plain = format_sheets_text([hostile("x")]) + format_firewall_text([Rule("x", "x", "tcp", 1, ("x",))])
    assert text.count("\n") == plain.count("\n")


@pytest.mark.parametrize("canary", CANARIES)
def test_a_strangers_text_begins_no_formula(canary: str) -> None:  # T53
    rule = Rule(CANARIES[canary], CANARIES[canary], "tcp", 1, (CANARIES[canary],))
    for text in (format_sheets_csv([hostile(CANARIES[canary])]), format_firewall_csv([rule])):
        rows = list(csv.reader(io.StringIO(text)))
        assert len({len(row) for row in rows}) == 1
        for row in rows:
            assert not any(
                cell.lstrip(" \u00a0").startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d")) for cell in row
            )


def test_csv_has_a_line_for_each_title_and_peer() -> None:
    rows = list(csv.DictReader(io.StringIO(format_sheets_csv(decide_boxes([sheet("CT01")], {})))))
    assert [(row["row"], row["ae_title"]) for row in rows[:2]] == [("own", "CT01"), ("own", "CT01_WL")]
    assert rows[-1]["ae_title"] == "PACS"
    assert rows[-1]["address"] == "10.20.0.100 10.20.0.99"
    assert rows[-1]["port"] == "104"


def test_an_empty_selection_of_sheets_is_an_empty_page() -> None:
    assert format_sheets_text([]) == ""
    assert "<article>" not in format_sheets_html([])
    assert format_firewall_text([]) == "no flow, prober or host needs a rule\n"
