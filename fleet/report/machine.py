"""A run for machines: one JSON document (`fleet.sweep/1`, `fleet.run/1`), JUnit XML, CSV.

JSON stays ASCII, so nothing that a peer said can move a terminal; XML and CSV carry escaped text (T53). The
JSON of a sweep comes in pieces: 100,000 results need not be one string.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from fleet.errors import HistoryError, Location, Problem, Severity
from fleet.report.echo_json import format_echo_json
from fleet.report.records import StoredRun
from fleet.report.summary import (
    BoxLine,
    DiffLine,
    EchoLine,
    FileChange,
    FindingLine,
    HostLine,
    RestartLine,
    RunReport,
    Verdict,
    WaiverLine,
    summarize_echoes,
)
from fleet.sheet.safe import guard_cell, safe_text

SWEEP_SCHEMA: Final = "fleet.sweep/1"
RUN_SCHEMA: Final = "fleet.run/1"


# JSON ----------------------------------------------------------------------------------------------------


def iter_sweep_json(report: RunReport) -> Iterator[str]:
    """The contract's JSON of a sweep in pieces, one result a line; joined they are one document.

    What a sweep alone does not have is added only where there is something: `hosts` with `--drift`, `problems`
    and `notices` when an invalid inventory was replaced by the last valid one.
    """
    head: dict[str, Any] = {
        "schema": SWEEP_SCHEMA,
        "run_id": report.run_id,
        "inventory_digest": report.inventory_digest,
        "started_at": report.started_at,
        "finished_at": report.finished_at,
        "summary": summarize_echoes(report),
        **_beside_a_sweep(report),
    }
    yield f'{_dump(head)[:-1]}, "results": ['
    separator = "\n"
    for line in report.echoes:
        yield separator + format_echo_json(line.columns)
        separator = ",\n"
    yield "\n]}\n"


def _beside_a_sweep(report: RunReport) -> Mapping[str, Any]:
    added: dict[str, Any] = {}
    if report.all_hosts:
        added["hosts"] = [_host(line) for line in report.all_hosts]
    if report.findings:
        added["findings"] = [_finding(finding) for finding in report.findings]
    if report.problems:
        added["problems"] = [make_problem(problem) for problem in report.problems]
    if report.notices or report.warnings:
        added["notices"] = [*report.warnings, *report.notices]
    return added


def format_sweep_json(report: RunReport) -> str:
    """The same as one string."""
    return "".join(iter_sweep_json(report))


def format_run_json(report: RunReport) -> str:
    """A run of any verb as one document, `fleet.run/1`."""
    return _dump(make_run(report)) + "\n"


def make_run(report: RunReport) -> Mapping[str, Any]:
    """A run as plain data."""
    return {
        "schema": RUN_SCHEMA,
        "verb": report.verb,
        "run_id": report.run_id,
        "playbook": report.playbook or None,
        "inventory_digest": report.inventory_digest,
        "started_at": report.started_at,
        "finished_at": report.finished_at,
        "exit_status": report.exit_status,
        "failure": report.failure or None,
        "problems": [make_problem(problem) for problem in report.problems],
        "plan": {
            "counts": dict(report.plan_counts),
            "changes": [{"hosts": list(diff.hosts), "lines": list(diff.lines)} for diff in report.diffs],
            "restarts": [
                {
                    "host": line.host,
                    "unit": line.unit,
                    "port": line.port,
                    "open_associations": line.open,
                    "drain_s": line.drain_s,
                }
                for line in report.restarts
            ],
        },
        "host_summary": {"total": len(report.all_hosts), **report.host_counts},
        "hosts": [_host(line) for line in report.all_hosts],
        "findings": [_finding(finding) for finding in report.findings],
        "waivers": [_waiver(each) for each in report.waivers],
        "by_hand": [_box(box) for box in report.by_hand],
        "unconfirmed": list(report.unconfirmed),
        "warnings": list(report.warnings),
        "notices": list(report.notices),
        "sweep": _sweep(report),
    }


def read_run(document: Mapping[str, Any]) -> RunReport:
    """The report that `make_run` made plain data of: what a saved plan shows again. A sweep is not in it."""
    return RunReport(
        document["verb"],
        document["run_id"],
        document["started_at"],
        document["finished_at"],
        inventory_digest=document["inventory_digest"],
        playbook=document["playbook"] or "",
        failure=document["failure"] or "",
        problems=tuple(_read_problem(row) for row in document["problems"]),
        plan_counts=document["plan"]["counts"],
        diffs=tuple(DiffLine(tuple(row["hosts"]), tuple(row["lines"])) for row in document["plan"]["changes"]),
        restarts=tuple(_read_restart(row) for row in document["plan"]["restarts"]),
        hosts=tuple(_read_host(row) for row in document["hosts"]),
        findings=tuple(FindingLine(**row) for row in document["findings"]),
        waivers=tuple(WaiverLine(**row) for row in document["waivers"]),
        by_hand=tuple(BoxLine(**{**row, "changes": tuple(row["changes"])}) for row in document["by_hand"]),
        unconfirmed=tuple(document["unconfirmed"]),
        warnings=tuple(document["warnings"]),
        notices=tuple(document["notices"]),
    )


def _read_problem(row: Mapping[str, Any]) -> Problem:
    also, subjects = tuple(_read_location(place) for place in row["also"]), tuple(row["subjects"])
    return Problem(row["code"], Severity(row["severity"]), row["message"], _read_location(row), also, subjects)


def _read_location(row: Mapping[str, Any]) -> Location:
    return Location(row["document"], row["line"], row["column"], row["pointer"])


def _read_restart(row: Mapping[str, Any]) -> RestartLine:
    return RestartLine(row["host"], row["unit"], row["port"], row["open_associations"], row["drain_s"])


def _read_host(row: Mapping[str, Any]) -> HostLine:
    return HostLine(**{**row, "files": tuple(FileChange(**file) for file in row["files"])})


def make_run_summary(report: RunReport) -> Mapping[str, Any]:
    """What the history keeps of a run beside its rows: counts, problems, boxes."""
    errors = sum(problem.severity is Severity.ERROR for problem in report.problems)
    return {
        "problems": {"errors": errors, "warnings": len(report.problems) - errors},
        "problem_lines": [make_problem(problem) for problem in report.problems[:1000]],
        "plan": dict(report.plan_counts),
        "hosts": dict(report.host_counts),
        "echoes": dict(report.echo_counts),
        "findings": len(report.findings),
        "by_hand": [box.box for box in report.by_hand],
        "unconfirmed": len(report.unconfirmed),
        "warnings": list(report.warnings),
        "notices": list(report.notices),
        "failure": report.failure,
    }


def read_stored_run(run: StoredRun, hosts: Sequence[HostLine], echoes: Sequence[EchoLine]) -> RunReport:
    """A run's report again, of its rows in the history and of what `make_run_summary` kept."""
    try:
        return RunReport(
            *(run.start.verb, run.run_id, run.start.started_at, run.finished_at or ""),
            problems=tuple(_read_problem(row) for row in run.summary.get("problem_lines", ())),
            hosts=tuple(hosts),
            echoes=echoes,
            warnings=tuple(map(str, run.summary.get("warnings", ()))),
            notices=tuple(map(str, run.summary.get("notices", ()))),
            failure=str(run.summary.get("failure", "")),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise HistoryError(f"run {run.run_id}: its summary is not what a fleet records ({error!r})") from error


def make_problem(problem: Problem) -> Mapping[str, Any]:
    """A problem as plain data."""
    return {
        "code": problem.code,
        "severity": str(problem.severity),
        "message": problem.message,
        **_location(problem.location),
        "also": [_location(place) for place in problem.also],
        "subjects": list(problem.subjects),
    }


def _location(place: Location) -> Mapping[str, Any]:
    return {"document": place.document, "line": place.line, "column": place.column, "pointer": place.pointer}


def _host(line: HostLine) -> Mapping[str, Any]:
    return {
        "host": line.host,
        "outcome": line.outcome,
        "phase": line.phase,
        "detail": line.detail,
        "files": [
            {"path": file.path, "before_digest": file.before_digest, "after_digest": file.after_digest}
            for file in line.files
        ],
    }


def _box(box: BoxLine) -> Mapping[str, Any]:
    return {"box": box.box, "why": box.why, "changes": list(box.changes), "contact": box.contact}


def _finding(finding: FindingLine) -> Mapping[str, Any]:
    return {"host": finding.host, "path": finding.path, "code": finding.code, "message": finding.message}


def _waiver(each: WaiverLine) -> Mapping[str, Any]:
    return {"code": each.code, "where": each.where, "until": each.until, "reason": each.reason}


def _sweep(report: RunReport) -> Mapping[str, Any] | None:
    if not report.echoes and not report.unreported:
        return None
    return {"summary": summarize_echoes(report), "results": [line.row for line in report.echoes]}


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


# JUnit ---------------------------------------------------------------------------------------------------


def format_junit(report: RunReport) -> str:
    """JUnit XML: a test case for each problem, host and association."""
    suites = (
        _suite("inventory", [_problem_case(problem, report.strict) for problem in report.problems]),
        _suite("hosts", [_host_case(line) for line in report.all_hosts]),
        _suite("audit", [_finding_case(finding) for finding in report.findings]),
        _suite("sweep", [*(_echo_case(line) for line in report.echoes), *_missing_cases(report)]),
        _suite("fleet", [_case("run", report.verb, failure=("failure", report.failure))] if report.failure else []),
    )
    body = "".join(suites)
    counted = f'tests="{body.count("<testcase ")}" failures="{body.count("<failure ")}"'
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name={_attribute(report.verb)} {counted}>\n'
    return f"{head}{body}</testsuites>\n"


def _suite(name: str, cases: Sequence[str]) -> str:
    if not cases:
        return ""
    failures = sum("<failure " in case for case in cases)
    skipped = sum("<skipped " in case for case in cases)
    counted = f'tests="{len(cases)}" failures="{failures}" errors="0" skipped="{skipped}"'
    return f'<testsuite name="{name}" {counted}>\n{"".join(cases)}</testsuite>\n'


def _case(
    group: str,
    name: str,
    *,
    elapsed_s: float | None = None,
    failure: tuple[str, str] | None = None,
    skipped: str | None = None,
    said: str = "",
) -> str:
    time = "" if elapsed_s is None else f' time="{elapsed_s:.6f}"'
    inner = ""
    if failure:
        inner = f"<failure type={_attribute(failure[0])} message={_attribute(failure[1])}>{_content(said)}</failure>"
    elif skipped is not None:
        inner = f"<skipped message={_attribute(skipped)}/>"
    elif said:
        inner = f"<system-out>{_content(said)}</system-out>"
    return f"<testcase classname={_attribute(group)} name={_attribute(name)}{time}>{inner}</testcase>\n"


def _problem_case(problem: Problem, strict: bool) -> str:
    name = f"{problem.location}: {problem.code}"
    if problem.severity is Severity.ERROR or strict:
        said = "; ".join(f"and {place}" for place in problem.also)
        return _case("inventory", name, failure=(problem.code, problem.message), said=said)
    return _case("inventory", name, said=f"warning: {problem.message}")


def _host_case(line: HostLine) -> str:
    said = f"{line.phase}: {line.detail}" if line.phase else line.detail
    if line.verdict is Verdict.GOOD:
        return _case("hosts", line.host, said=line.outcome)
    return _case("hosts", line.host, failure=(line.outcome, said or line.outcome))


def _finding_case(finding: FindingLine) -> str:
    return _case("audit", f"{finding.host}:{finding.path}", failure=(finding.code, finding.message))


def _echo_case(line: EchoLine) -> str:
    row = line.row
    name = f"{row['ae_title']} {row['address']}:{row['port']} as {row['calling']} from {row['from']}"
    group = f"site.{row['site'] or 'unknown'}"
    said = "\n".join((row["detail"], *(f"warning: {warning}" for warning in row["warnings"]))).strip()
    if not line.as_desired:
        return _case(group, name, elapsed_s=row["elapsed_s"], failure=(line.outcome, row["detail"]), said=said)
    if line.outcome.startswith("skipped"):
        return _case(group, name, skipped=f"{line.outcome}: {row['detail']}")
    accepted = "" if line.outcome == "answered" else f"{line.outcome} is accepted here. "
    return _case(group, name, elapsed_s=row["elapsed_s"], said=accepted + said)


def _missing_cases(report: RunReport) -> Iterable[str]:
    failure = ("unknown", "asked, and nobody reported how it ended")
    return (_case("sweep", f"unreported {number + 1}", failure=failure) for number in range(report.unreported))


def _attribute(text: str) -> str:
    return f'"{escape(safe_text(text))}"'


def _content(text: str) -> str:
    # XML 1.0 section 2.2 allows no control characters but tab and newline; `safe_text` leaves none at all.
    return escape("\n".join(safe_text(line) for line in text.split("\n")))


# CSV -----------------------------------------------------------------------------------------------------

_COLUMNS: Final = (
    *("ae_title", "site", "host", "virtual_service", "address", "port", "calling", "from", "outcome", "status"),
    *("detail", "attempts", "certificate_days", "elapsed_s"),
)
_PEER_COLUMNS: Final = ("implementation_class_uid", "implementation_version", "max_pdu_bytes")


def format_sweep_csv(report: RunReport) -> str:
    """One line an association, guarded against what spreadsheets execute."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*_COLUMNS, "as_desired", "warnings", *_PEER_COLUMNS))
    for line in report.echoes:
        row = line.row
        peer = row["peer"] or {}
        cells = (*(row[column] for column in _COLUMNS), "yes" if line.as_desired else "no")
        texts = (" | ".join(row["warnings"]), *(peer.get(column) for column in _PEER_COLUMNS))
        writer.writerow([guard_cell(cell) for cell in (*cells, *texts)])
    return out.getvalue()
