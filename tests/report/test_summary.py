"""Counts add up, and one rule decides the exit status."""

from itertools import product

import pytest

from fleet.errors import Severity
from fleet.report.summary import FindingLine, HostLine, RunReport, Verdict, choose_exit_status, summarize_echoes
from tests.report.rows import echo, problem, report


@pytest.mark.parametrize(("broken", "wrong", "pending"), list(product([False, True], repeat=3)))
def test_of_several_the_first_of_1_2_3_0_is_the_exit_status(broken: bool, wrong: bool, pending: bool) -> None:
    order = [status for status, holds in ((1, broken), (2, wrong), (3, pending), (0, True)) if holds]
    assert choose_exit_status(broken=broken, wrong=wrong, pending=pending) == order[0]


CASES: list[tuple[str, RunReport, int]] = [
    ("nothing at all", report(), 0),
    ("all answer", report([echo(), echo(outcome="skipped_policy")]), 0),
    ("one is refused", report([echo(), echo(outcome="refused")]), 2),
    ("rejected, and that is accepted here", report([echo(outcome="association_rejected", good=True)]), 0),
    ("asked three, heard of two", report([echo(), echo()], asked=3), 2),
    ("a warning stops nothing", report(problems=(problem(Severity.WARNING),)), 0),
    ("a warning with --strict does", report(problems=(problem(Severity.WARNING),), strict=True), 2),
    ("an error does", report(problems=(problem(),)), 2),
    ("pending", report(hosts=(HostLine("a", "pending"), HostLine("b", "unchanged"))), 3),
    ("pending and failed", report(hosts=(HostLine("a", "pending"), HostLine("b", "failed"))), 2),
    ("not reached is wrong", report(hosts=(HostLine("a", "not_reached"),)), 2),
    ("rolled back is never good", report(hosts=(HostLine("a", "rolled_back"),)), 2),
    ("a word that nobody knows is wrong", report(hosts=(HostLine("a", "splendid"),)), 2),
    ("a planned host that nobody reported", report(planned_hosts=("a", "b"), hosts=(HostLine("a", "converged"),)), 2),
    ("a finding of the audit", report(findings=(FindingLine("a", "/etc/x", "drift", "edited"),)), 2),
    ("could not work", report([echo(outcome="refused")], failure="no history"), 1),
]


@pytest.mark.parametrize(("what", "run", "status"), CASES, ids=[case[0] for case in CASES])
def test_a_run_exits_as_the_contract_says(what: str, run: RunReport, status: int) -> None:
    assert run.exit_status == status, what


def test_boxes_by_hand_are_not_pending() -> None:
    assert report(unconfirmed=("NORTH_CT01",)).exit_status == 0


def test_hosts_that_nobody_reported_are_unknown_and_counted() -> None:
    run = report(planned_hosts=("a", "b", "c"), hosts=(HostLine("b", "converged"), HostLine("a", "not_reached")))
    assert run.host_counts == {"converged": 1, "not_reached": 1, "unknown": 1}
    assert sum(run.host_counts.values()) == len(run.planned_hosts)
    assert run.not_reached == ("a",)
    assert run.failed_names == ("a", "c")


def test_the_summary_of_a_sweep_adds_up_to_what_was_asked() -> None:
    summary = summarize_echoes(report([echo(), echo(), echo(outcome="refused")], asked=5))
    assert summary == {"total": 5, "answered": 2, "unknown": 2, "refused": 1}


def test_failed_names_are_titles_and_hosts_once_each() -> None:
    lines = [echo("B", "refused"), echo("B", "echo_timeout"), echo("A")]
    assert report(lines, hosts=(HostLine("h", "unreachable"),)).failed_names == ("B", "h")


def test_only_two_words_are_good() -> None:
    words = ("unchanged", "converged", "pending", "refused", "stale", "failed", "unreachable", "not_reached", "unknown")
    good = [word for word in words if HostLine("h", word).verdict is Verdict.GOOD]
    assert good == ["unchanged", "converged"]
