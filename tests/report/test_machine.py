"""What machines read: exactly the contract's JSON, JUnit that a CI server counts, CSV that a spreadsheet opens."""

import csv
import io
import json
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from fleet.documents.packaged import read_schema
from fleet.errors import Severity
from fleet.report.machine import (
    format_junit,
    format_run_json,
    format_sweep_csv,
    format_sweep_json,
    iter_sweep_json,
    make_run_summary,
)
from fleet.report.summary import DiffLine, FindingLine, HostLine, RunReport
from tests.report.rows import echo, full_report, problem, report

# The keys of contract.md, "JSON of a sweep", in its order.
TOP = ["schema", "run_id", "inventory_digest", "started_at", "finished_at", "summary", "results"]
RESULT = [
    *("ae_title", "site", "host", "virtual_service", "address", "port", "calling", "from", "outcome", "status"),
    *("detail", "warnings", "attempts", "peer", "certificate_days", "phases", "elapsed_s"),
]


def validate(document: Any, schema: str) -> None:
    loaded = read_schema(schema)
    Draft202012Validator.check_schema(loaded)
    Draft202012Validator(loaded).validate(document)


def test_the_json_of_a_sweep_is_exactly_the_contracts() -> None:
    run = report([echo(), echo("B", "refused", peer=None), echo("C")], inventory_digest="abc")
    document = json.loads(format_sweep_json(run))
    assert list(document) == TOP
    assert document["schema"] == "fleet.sweep/1"
    assert document["summary"] == {"total": 3, "answered": 2, "refused": 1}
    assert [list(result) for result in document["results"]] == [RESULT] * 3
    validate(document, "sweep")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_pieces_of_a_sweep_are_one_document(count: int) -> None:
    document = json.loads("".join(iter_sweep_json(report([echo()] * count))))
    assert len(document["results"]) == count
    validate(document, "sweep")


def test_what_a_sweep_alone_has_not_is_there_only_with_drift_or_problems() -> None:
    run = report(
        [echo()], hosts=(HostLine("h", "pending"),), problems=(problem(),), notices=("swept the last valid one",)
    )
    document = json.loads(format_sweep_json(run))
    assert set(document) - set(TOP) == {"hosts", "problems", "notices"}
    validate(document, "sweep")


@pytest.mark.parametrize(
    "run",
    [
        report(),
        full_report("x"),
        full_report("ü\x1b[31m\u202e</script>\udcff"),
        report(diffs=(DiffLine(("a", "b"), ("write /x", "+1")),), plan_counts={"hosts": 2}, planned_hosts=("a", "b")),
        report(failure="no history"),
        report([echo()], asked=3, playbook="nightly-verify.yml"),
    ],
)
def test_the_json_of_any_run_is_what_its_schema_says(run: RunReport) -> None:
    document = json.loads(format_run_json(run))
    validate(document, "run")
    assert document["exit_status"] == run.exit_status
    assert document["host_summary"]["total"] == len(document["hosts"])


def test_every_property_of_the_schemas_is_described() -> None:
    def walk(node: Any, where: str) -> None:
        if isinstance(node, dict):
            for name, inner in node.get("properties", {}).items():
                assert inner.get("description"), f"{where}/{name}"
            for key, inner in node.items():
                walk(inner, f"{where}/{key}")

    for name in ("sweep", "run"):
        walk(read_schema(name), name)


def test_junit_counts_what_it_holds() -> None:
    run = report(
        [echo("A"), echo("B", "refused", detail="nobody listens"), echo("C", "skipped_policy", detail="at night only")],
        asked=4,
        hosts=(HostLine("h1", "converged"), HostLine("h2", "unreachable", "connect", "no answer")),
        problems=(problem(), problem(Severity.WARNING)),
        findings=(FindingLine("h1", "/etc/x", "drift", "edited"),),
    )
    root = ElementTree.fromstring(format_junit(run))  # noqa: S314  our own text
    suites = {suite.get("name"): suite for suite in root}
    assert {name: (s.get("tests"), s.get("failures"), s.get("skipped")) for name, s in suites.items()} == {
        "inventory": ("2", "1", "0"),
        "hosts": ("2", "1", "0"),
        "audit": ("1", "1", "0"),
        "sweep": ("4", "2", "1"),
    }
    assert (root.get("tests"), root.get("failures")) == ("9", "5")
    failure = suites["sweep"].find("testcase/failure")
    assert failure is not None
    assert (failure.get("type"), failure.get("message")) == ("refused", "nobody listens")


def test_csv_has_a_line_an_association_and_numbers_stay_numbers() -> None:
    rows = list(csv.DictReader(io.StringIO(format_sweep_csv(report([echo(), echo("B", "refused", peer=None)])))))
    assert [(row["ae_title"], row["port"], row["as_desired"], row["max_pdu_bytes"]) for row in rows] == [
        ("NORTH_PACS", "11112", "yes", "16384"),
        ("B", "11112", "no", ""),
    ]


def test_the_stored_summary_adds_up_like_the_run() -> None:
    run = report([echo(), echo("B", "refused")], asked=3, hosts=(HostLine("h", "failed"),), problems=(problem(),))
    summary = make_run_summary(run)
    assert summary["problems"] == {"errors": 1, "warnings": 0}
    assert sum(summary["echoes"].values()) == 3
    assert summary["hosts"] == {"failed": 1}
    assert json.loads(json.dumps(summary)) == summary
