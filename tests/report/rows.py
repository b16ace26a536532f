"""Values that the tests of this room are made of."""

from collections.abc import Sequence
from typing import Any

from fleet.errors import Location, Problem, Severity
from fleet.report.records import RunStart
from fleet.report.summary import (
    BoxLine,
    DiffLine,
    EchoLine,
    FileChange,
    FindingLine,
    HostLine,
    RestartLine,
    RunReport,
    WaiverLine,
)


def echo(
    title: str = "NORTH_PACS",
    outcome: str = "answered",
    *,
    good: bool | None = None,
    asker: str = "controller",
    **more: Any,
) -> EchoLine:
    """A result as verify gives it; `answered` and what is skipped is as desired unless it is said."""
    row: dict[str, Any] = {
        "ae_title": title,
        "site": "north",
        "host": None,
        "virtual_service": None,
        "address": "10.20.0.11",
        "port": 11112,
        "calling": "FLEET_SCU",
        "from": asker,
        "outcome": outcome,
        "status": 0 if outcome == "answered" else None,
        "detail": "",
        "warnings": [],
        "attempts": 1,
        "peer": {"implementation_class_uid": "1.2.276.0", "implementation_version": "OFFIS", "max_pdu_bytes": 16384},
        "certificate_days": None,
        "phases": {
            "resolve_s": 0.0,
            "connect_s": 0.001,
            "tls_s": None,
            "associate_s": 0.002,
            "echo_s": 0.001,
            "release_s": None,
        },
        "elapsed_s": 0.005,
    }
    row.update(more)
    return EchoLine(row, outcome in {"answered", "skipped_policy"} if good is None else good)


def start(run_id: str = "r1", verb: str = "verify", **more: Any) -> RunStart:
    """The beginning of a run."""
    values: dict[str, Any] = {"started_at": "2026-11-20T01:00:00Z", "who": "night", "where": "console", **more}
    return RunStart(run_id, verb, **values)


def report(echoes: Sequence[EchoLine] = (), **more: Any) -> RunReport:
    """A run with these results."""
    return RunReport("verify", "r1", "2026-11-20T01:00:00Z", "2026-11-20T01:00:05Z", echoes=tuple(echoes), **more)


def problem(severity: Severity = Severity.ERROR, text: str = "two bear one title") -> Problem:
    """A finding with a second place."""
    return Problem(
        "ae-title-duplicate",
        severity,
        text,
        Location("sites/north.yml", 7, 3, "/entities/0"),
        (Location("sites/south.yml", 9, 3),),
        ("NORTH_WS01",),
    )


def full_report(text: str) -> RunReport:
    """A run in which everything that can be text is this text."""
    return RunReport(
        text,
        text,
        "2026-11-20T01:00:00Z",
        "2026-11-20T01:00:05Z",
        playbook=text,
        failure=text,
        problems=(Problem(text, Severity.ERROR, text, Location(text, 1, 1, text), (Location(text, 2, 2),), (text,)),),
        plan_counts={"hosts": 1, "changing": 1},
        restarts=(RestartLine(text, text, 104, 2, 60.0),),
        diffs=(DiffLine((text,), (text, f"+{text}", f"-{text}")),),
        hosts=(HostLine(text, text, text, text, (FileChange(text, text, text),)),),
        echoes=(
            echo(text, "refused", site=text, host=text, address=text, calling=text, detail=text, warnings=[text])
            if text
            else echo(),
            echo(
                text,
                peer={"implementation_class_uid": text, "implementation_version": text, "max_pdu_bytes": 1},
                warnings=[text],
            ),
        ),
        findings=(FindingLine(text, text, text, text),),
        waivers=(WaiverLine(text, text, text, text),),
        warnings=(text,),
        notices=(text,),
        by_hand=(BoxLine(text, text, (text,), text),),
        unconfirmed=(text,),
    )
