"""What people read: what is wrong comes first, counts last, colours only where they are wanted."""

import json
from dataclasses import replace

import pytest

from fleet.errors import HistoryError, Location, Severity
from fleet.report.machine import make_run_summary, read_stored_run
from fleet.report.palette import COLOR, PLAIN
from fleet.report.records import StoredRun
from fleet.report.summary import BoxLine, DiffLine, FileChange, HostLine, RestartLine
from fleet.report.text import (
    format_boxes,
    format_history,
    format_hosts,
    format_place,
    format_plan,
    format_problem_counts,
    format_problems,
    format_problems_short,
    format_run,
    format_stored_run,
    format_sweep,
)
from tests.report.rows import echo, full_report, problem, report, start


def test_a_problem_is_one_line_with_its_second_place_below() -> None:
    assert format_problems([problem()]) == (
        "sites/north.yml:7:3: error[ae-title-duplicate] two bear one title\n    and sites/south.yml:9:3\n"
    )


def test_of_each_kind_of_warning_a_run_tells_the_first_and_how_many_more() -> None:
    many = [replace(problem(Severity.WARNING), location=Location("a.yml", line, 1), also=()) for line in (9, 2, 5)]
    other = replace(many[0], code="title-unusual", location=Location("b.yml", 1, 1))
    mistakes = [replace(each, severity=Severity.ERROR, message=f"no {each.location.line}") for each in many]
    assert format_problems_short([*many, other]).splitlines() == [
        "a.yml:2:1: warning[ae-title-duplicate] two bear one title",
        "    and 2 more of this kind; `fleet validate` tells each",
        "b.yml:1:1: warning[title-unusual] two bear one title",
    ]
    assert format_problems_short(mistakes) == format_problems(mistakes)
    whole = replace(report([]), problems=(*many, other))
    assert "and 2 more of this kind" in format_run(whole)
    assert format_run(whole, verbose=1).count("warning[") == 4


def test_problems_are_counted_by_weight() -> None:
    assert format_problem_counts([problem(), problem(Severity.WARNING)]) == "1 error, 1 warning"
    assert format_problem_counts([]) == "0 errors, 0 warnings"


def test_failures_stand_before_everything_else_in_a_sweep() -> None:
    lines = [
        echo("A", warnings=["the certificate ends in 12 days"]),
        echo("B"),
        echo("WS01", "connect_timeout", address="10.0.0.1", port=104, detail="no answer in 3 s"),
        echo("C", "association_rejected", good=True),
    ]
    assert format_sweep(report(lines)) == (
        "connect_timeout  WS01  10.0.0.1:104      no answer in 3 s\n"
        "answered         A     10.20.0.11:11112\n"
        "    warning: the certificate ends in 12 days\n"
        "4 associations: 2 answered, 1 association_rejected, 1 connect_timeout\n"
    )
    assert format_sweep(report(lines), all_results=True).count("answered  ") == 2


def test_what_failures_share_is_the_first_line() -> None:
    lines = [echo(f"S{n}", "connect_timeout", site="south", address=f"10.{n}.0.1") for n in range(3)] + [echo()]
    assert format_sweep(report(lines)).splitlines()[0] == "3 connect_timeout: all of site=south"


def test_who_asked_is_told_when_it_was_not_the_controller() -> None:
    assert "(from north-relay-1) no answer" in format_sweep(
        report([echo("A", "refused", detail="no answer", asker="north-relay-1")])
    )


def test_what_was_asked_and_never_reported_is_told() -> None:
    text = format_sweep(report([echo()], asked=3))
    assert text == "2 were asked and never reported\n3 associations: 2 unknown, 1 answered\n"


def test_a_plan_shows_equal_changes_once_and_ends_with_counts() -> None:
    diffs = [
        DiffLine(("odd",), ("remove /etc/x",)),
        DiffLine(("a", "b"), ("update /etc/y", "--- /etc/y", "+++ /etc/y", "@@ -1 +1 @@", "-old", "+\tnew")),
    ]
    counts = {"hosts": 5, "changing": 3, "blocked": 1, "writes": 2, "removals": 1, "units": 0, "handlers": 0}
    restarts = (
        RestartLine("north-1", "pacs.service", 11112, 3, 60.0),
        RestartLine("north-2", "pacs.service", 11112, 0, 60.0),
        RestartLine("north-3", "pacs.service", 11112, None, 60.0),
    )
    cut = "the restart of pacs.service waits up to 60 s for them, then cuts what is left"
    assert format_plan((), {}, PLAIN, restarts).splitlines() == [
        f"north-1: 3 associations are open on port 11112 now: {cut}",
        "north-3: how many associations are open on port 11112, where pacs.service restarts, is not known",
    ]
    assert format_plan(diffs, counts).splitlines() == [
        "odd: remove /etc/x",
        "2 hosts: a, b: update /etc/y",
        "    --- /etc/y",
        "    +++ /etc/y",
        "    @@ -1 +1 @@",
        "    -old",
        "    +\tnew",
        "plan: 3 of 5 hosts would change: 2 written, 1 removed; 1 cannot be changed",
    ]


def test_hosts_that_failed_stand_first_and_unchanged_ones_only_in_the_count() -> None:
    lines = [
        HostLine("c", "unchanged"),
        HostLine("b", "converged"),
        HostLine("a", "unreachable", "connect", "no answer in 10 s"),
    ]
    assert format_hosts(lines) == (
        "unreachable  a  connect: no answer in 10 s\nconverged    b\n3 hosts: 1 converged, 1 unchanged, 1 unreachable\n"
    )
    assert "unchanged    c\n" in format_hosts(lines, all_hosts=True)


def test_boxes_never_confirmed_are_one_line_however_many() -> None:
    text = format_boxes([], [f"AE{number}" for number in range(60)])
    assert text.count("\n") == 1
    assert text.startswith("60 boxes never confirmed by hand")


def test_an_open_box_tells_what_to_type_and_whom_to_ask() -> None:
    text = format_boxes([BoxLine("CT01", "1 to change", ("add peer X: address 10.0.0.1",), "vendor desk")])
    assert text.splitlines()[:3] == [
        "1 box to change by hand:",
        "    CT01: 1 to change (vendor desk)",
        "        add peer X: address 10.0.0.1",
    ]


@pytest.mark.parametrize(
    ("address", "port", "text"),
    [("10.0.0.1", 104, "10.0.0.1:104"), ("fd00::1", 104, "[fd00::1]:104"), ("pacs.example", None, "pacs.example")],
)
def test_a_place_is_written_so_that_it_can_be_read_again(address: str, port: int | None, text: str) -> None:
    assert format_place(address, port) == text


def test_quiet_says_nothing_when_all_is_well_and_everything_when_not() -> None:
    assert format_run(report([echo()]), quiet=True) == ""
    assert "1 associations" not in format_run(report([echo("A", "refused")]), quiet=True)
    assert "refused" in format_run(report([echo("A", "refused")]), quiet=True)


def test_without_a_palette_there_is_no_escape_and_with_one_each_is_closed() -> None:
    run = full_report("x")
    assert "\x1b" not in format_run(run)
    colored = format_run(run, COLOR)
    assert colored.count("\x1b[0m") == colored.count("\x1b[") // 2 > 0
    assert "".join(part.split("m", 1)[1] for part in f"m{colored}".split("\x1b[")) == format_run(run)


def test_one_error_of_a_stored_run_is_not_told_in_the_plural() -> None:
    run = StoredRun(start("r1", "apply"), "2026-11-20T02:00:00Z", 2, {"problems": {"errors": 1, "warnings": 3}})
    assert format_history([run]).rstrip().endswith("problems: 1 error, 3 warnings")


def test_history_is_one_line_a_run() -> None:
    done = StoredRun(start("r2", "apply"), "2026-11-20T02:00:00Z", 2, {"hosts": {"failed": 1}, "echoes": {}})
    cut_off = StoredRun(start("r10", "run", playbook="nightly-verify.yml"))
    lines = format_history([done, cut_off]).splitlines()
    assert lines == [
        "2026-11-20T01:00:00Z  r2   apply                   night  wrong       hosts: 1 failed",
        "2026-11-20T01:00:00Z  r10  run nightly-verify.yml  night  unfinished",
    ]
    assert format_history([]) == "no runs yet\n"


def test_a_run_shows_who_when_and_what_changed_where() -> None:
    run = StoredRun(start("r2", "apply", ticket="CHG-7", inventory_digest="abc"), "2026-11-20T02:00:00Z", 0)
    host = HostLine("h", "converged", files=(FileChange("/etc/a", None, "f" * 64),))
    text = format_stored_run(run, read_stored_run(run, [host], []))
    assert "night on console" in text
    assert "CHG-7" in text
    assert f"h: /etc/a (none) -> {'f' * 12}\n" in text


def test_a_run_shows_the_problems_and_the_words_that_it_ended_with() -> None:
    many = tuple(replace(problem(), location=Location("a.yml", line, 1)) for line in range(1, 1003))
    told = report(problems=many, warnings=("nobody looked",), notices=("two are new",), failure="no such host")
    run = StoredRun(start("r2", "apply"), "2026-11-20T02:00:00Z", 2, json.loads(json.dumps(make_run_summary(told))))
    text = format_stored_run(run, read_stored_run(run, [], []))
    assert format_problems(told.problems[:1000]) in text
    assert "and 2 more problems that the history did not keep\n" in text
    assert text.endswith("warning: nobody looked\ntwo are new\nno such host\n")


def test_a_run_that_was_cut_off_has_no_summary_and_is_shown() -> None:
    run = StoredRun(start("r3", "apply"))
    assert "cut off, or still running" in format_stored_run(run, read_stored_run(run, [], []))


def test_a_summary_that_somebody_wrote_over_is_refused_in_words() -> None:
    run = StoredRun(start("r4", "apply"), "2026-11-20T02:00:00Z", 0, {"problem_lines": [{"code": 1}]})
    with pytest.raises(HistoryError, match="run r4"):
        read_stored_run(run, [], [])


def test_who_asked_is_said_once() -> None:
    told = [
        format_sweep(report([echo("A", "refused", asker="pacs-1", detail=detail)])).splitlines()[-2]
        for detail in ("nobody listens", "from pacs-1: nobody listens")
    ]
    assert [line.count("from pacs-1") for line in told] == [1, 1]
