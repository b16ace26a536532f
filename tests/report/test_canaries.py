"""Whatever a stranger says goes through every output without being obeyed by a terminal, a browser or a spreadsheet."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fleet.report.compare import compare_sweeps, format_comparison
from fleet.report.history.opening import open_history
from fleet.report.machine import (
    format_junit,
    format_run_json,
    format_sweep_csv,
    format_sweep_json,
    make_run_summary,
    read_stored_run,
)
from fleet.report.page import Fleet, format_page, make_page
from fleet.report.records import StoredRun
from fleet.report.summary import RunReport
from fleet.report.text import format_history, format_run, format_stored_run
from tests.report.rows import echo, full_report, start

CANARIES = {
    "markup": "<script>alert(1)</script><img src=x onerror=y>\"'&amp;]]>",
    "formula": "=cmd|'/c calc'!A1",
    "formula after blanks": "\u00a0 \t@SUM(1)",
    "full-width formula": "\uff1dSUM(1)",
    "escape": "\x1b[2J\x1b]0;title\x07",
    "c1": "\x9b31m\x85next",
    "bidi": "\u202egnp.exe\u2066",
    "lines": "one\ntwo\r\nthree\u2028four\x0bfive",
    "nul": "a\x00b",
    "surrogate": "\udc9b[31m",
    "carriage": "\rover",
}


def history_text(run: RunReport) -> str:
    stored = StoredRun(
        start(run.run_id, run.verb, who=run.verb, where=run.verb, argv=(run.verb,), reason=run.verb),
        "2026-11-20T02:00:00Z",
        2,
        {**make_run_summary(run), "hosts": {run.verb: 1}},
    )
    return format_history([stored]) + format_stored_run(stored, read_stored_run(stored, run.all_hosts, run.echoes))


TERMINAL: dict[str, Callable[[RunReport], str]] = {
    "text": format_run,
    "verbose text": lambda run: format_run(run, verbose=2),
    "history": history_text,
    "comparison": lambda run: (
        format_comparison(compare_sweeps([], run.echoes), [run.run_id])
        + format_comparison(
            compare_sweeps([echo(run.verb, "echo_failed")], [echo(run.verb, detail=run.verb)]), [run.verb]
        )
    ),
    "sweep json": format_sweep_json,
    "run json": format_run_json,
    "junit": format_junit,
    "csv": format_sweep_csv,
}


@pytest.mark.parametrize("output", TERMINAL)
@pytest.mark.parametrize("canary", CANARIES)
def test_nothing_that_a_stranger_says_moves_a_terminal(output: str, canary: str) -> None:  # T53
    text = TERMINAL[output](full_report(CANARIES[canary]))
    # Tabs stay in the lines of a diff, and do nothing.
    assert {char for char in text if not char.isprintable()} <= {"\n", "\t"}
    text.encode()


@pytest.mark.parametrize("canary", CANARIES)
def test_a_stranger_adds_no_line_to_the_text(canary: str) -> None:  # T53
    assert format_run(full_report(CANARIES[canary])).count("\n") == format_run(full_report("x")).count("\n")


@pytest.mark.parametrize("canary", CANARIES)
def test_json_gives_back_what_was_said(canary: str) -> None:  # T53
    document = json.loads(format_sweep_json(full_report(CANARIES[canary])))
    assert document["results"][0]["detail"] == CANARIES[canary]


@pytest.mark.parametrize("canary", CANARIES)
def test_junit_stays_xml_with_the_same_elements(canary: str) -> None:  # T53
    def shape(text: str) -> list[str]:
        return [element.tag for element in ElementTree.fromstring(text).iter()]  # noqa: S314  our own text

    assert shape(format_junit(full_report(CANARIES[canary]))) == shape(format_junit(full_report("x")))


@pytest.mark.parametrize("canary", CANARIES)
def test_no_cell_begins_a_formula(canary: str) -> None:  # T53
    rows = list(csv.reader(io.StringIO(format_sweep_csv(full_report(CANARIES[canary])))))
    assert len({len(row) for row in rows}) == 1
    assert len(rows) == 3
    for row in rows:
        for cell in row:
            assert not cell.lstrip(" \u00a0").startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d")), cell


@pytest.mark.parametrize("canary", CANARIES)
def test_the_page_from_a_recorded_run_is_harmless_too(canary: str, tmp_path: Path) -> None:  # T53
    run = full_report(CANARIES[canary])
    with open_history(tmp_path / "history.sqlite") as history:
        history.record_run_start(start("r1", "apply"))
        history.record_host_outcomes("r1", run.hosts)
        history.record_echo_results("r1", run.echoes)
        history.record_run_finish("r1", "2026-11-20T02:00:00Z", 2, {"echoes": {CANARIES[canary]: 1}})
        page = make_page(history, Fleet(CANARIES[canary], by_hand=run.by_hand), "2026-11-20T08:00:00Z")
    text = format_page(page)
    assert all(char.isprintable() or char == "\n" for char in text)
