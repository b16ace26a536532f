"""The page for the morning: last runs, what fails since when, waivers that end, boxes by hand."""

from datetime import date
from pathlib import Path

from fleet.inventory.model import Waiver
from fleet.report.history.opening import open_history
from fleet.report.page import Fleet, find_ends, format_page, make_page
from fleet.report.records import AppliedFleet
from fleet.report.summary import BoxLine, HostLine
from tests.report.rows import echo, start


def waiver(code: str, until: str) -> Waiver:
    return Waiver(code, "site=north", "vendor is slow", until)


def test_waivers_are_listed_with_the_days_that_are_left_the_most_urgent_first() -> None:
    waivers = [waiver("b", "2026-12-01"), waiver("a", "2026-11-01"), waiver("c", "2027-11-01"), waiver("d", "some day")]
    found = find_ends(waivers, date(2026, 11, 20))
    assert [(each.code, days) for each, days in found] == [("a", -19), ("b", 11), ("c", 346)]


def test_an_empty_history_makes_a_page_that_says_never(tmp_path: Path) -> None:
    with open_history(tmp_path / "history.sqlite") as history:
        text = format_page(make_page(history, Fleet("mercy"), "2026-11-20T08:00:00Z"))
    assert text.startswith("mercy, 2026-11-20T08:00:00Z\n")
    assert text.count("never") == 3
    assert "everything answers" not in text
    assert "no box is open by hand" in text


def test_the_page_tells_what_fails_since_when(tmp_path: Path) -> None:
    with open_history(tmp_path / "history.sqlite") as history:
        for night in ("18", "19", "20"):
            history.record_run_start(start(f"r{night}", "run", started_at=f"2026-11-{night}T01:00:00Z"))
            state = "answered" if night == "18" else "refused"
            history.record_echo_results(f"r{night}", [echo("CT01", state, detail="nobody listens"), echo("B")])
            history.record_run_finish(f"r{night}", "later", 2, {"echoes": {"refused": 1, "answered": 1}})
        fleet = Fleet("mercy", (waiver("plain", "2026-11-25"),), (BoxLine("WS01", "new"),), ("CT01", "CT02"))
        text = format_page(make_page(history, fleet, "2026-11-20T08:00:00Z"))
    assert "CT01 10.20.0.11:11112 refused since 2026-11-19T01:00:00Z (2 sweeps) nobody listens" in text
    assert "last sweep:    2026-11-20T01:00:00Z by night, exit status 2; echoes: 1 refused, 1 answered  (r20)" in text
    assert "plain for site=north: 5 days left, until 2026-11-25 (vendor is slow)" in text
    assert "WS01: new" in text
    assert "2 boxes never confirmed" in text


def test_a_playbook_that_applied_counts_as_the_last_apply(tmp_path: Path) -> None:
    with open_history(tmp_path / "history.sqlite") as history:
        history.record_run_start(start("r1", "apply", started_at="2026-11-01T01:00:00Z"))
        history.record_run_start(start("r2", "run", started_at="2026-11-02T01:00:00Z", playbook="apply.yml"))
        history.record_host_outcomes("r2", [HostLine("h", "failed", "check", "bad file"), HostLine("i", "converged")])
        history.record_applied(AppliedFleet("r2", "2026-11-02T01:01:00Z", "d", frozenset("A"), frozenset("h")))
        page = make_page(history, Fleet(), "2026-11-20T08:00:00Z")
    assert page.hosts_failed == ("h: failed bad file",)
    assert [run.run_id for title, run in page.last if title == "last apply" and run] == ["r2"]


def test_every_run_that_read_the_inventory_is_a_validation(tmp_path: Path) -> None:
    with open_history(tmp_path / "history.sqlite") as history:
        history.record_run_start(start("r1", "plan"))
        history.record_run_finish("r1", "later", 2, {"problems": {"errors": 2}, "problem_lines": [{"code": "x"}]})
        history.record_run_start(start("r2", "history"))
        text = format_page(make_page(history, Fleet(), "2026-11-20T08:00:00Z"))
    assert "last validate: 2026-11-20T01:00:00Z by night, not valid; problems: 2 errors  (r1)" in text


def test_a_sweep_in_which_an_ae_is_silent_is_no_failed_validation(tmp_path: Path) -> None:
    with open_history(tmp_path / "history.sqlite") as history:
        history.record_run_start(start("r1", "verify", inventory_digest="abc"))
        found = {"problems": {"errors": 0, "warnings": 1}, "echoes": {"refused": 1}}
        history.record_run_finish("r1", "later", 2, found)
        text = format_page(make_page(history, Fleet(), "2026-11-20T08:00:00Z"))
    assert "last validate: 2026-11-20T01:00:00Z by night, valid; problems: 1 warning  (r1)" in text
