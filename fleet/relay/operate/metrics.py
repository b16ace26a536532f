"""The status as Prometheus's text format (version 0.0.4); no label holds anything of a patient."""

from collections.abc import Mapping
from typing import Any

Rows = Mapping[tuple[tuple[str, str], ...], float]


def format_metrics(status: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    """Lines for a scrape, or for the textfile collector of node_exporter."""
    lines = ["# TYPE fleet_relay_events_total counter"]
    lines += [f"fleet_relay_events_total{{event={_quote(event)}}} {number}" for event, number in sorted(counts.items())]
    lines += _gauge("tasks", {(("state", state),): number for state, number in status["states"].items()})
    lines += _gauge(
        "unrouted",
        {(("route", each["route"]), ("why", each["why"])): each["tasks"] for each in status["unrouted"]},
    )
    for key in ("queued", "oldest_s", "last_minute"):
        rows: Rows = {(("destination", str(each["destination"])),): each[key] for each in status["destinations"]}
        lines += _gauge(f"destination_{key.replace('_s', '_seconds')}", rows)
    up: Rows = {
        (("destination", str(each["destination"])),): int(each["state"] != "down") for each in status["destinations"]
    }
    lines += _gauge("destination_up", up)
    last: Rows = {(("calling", str(each["calling"])),): each["last_at"] for each in status["callers"]}
    lines += _gauge("caller_last_seconds", last)
    lines += _gauge("associations", {(): status["associations"]})
    lines += _gauge("spool_kept_bytes", {(): status["kept"]["bytes"]})
    lines += _gauge("spool_kept_instances", {(): status["kept"]["instances"]})
    lines += _gauge("spool_free_bytes", {(): status["free_bytes"]})
    return "\n".join(lines) + "\n"


def _gauge(name: str, rows: Rows) -> list[str]:
    lines = [f"# TYPE fleet_relay_{name} gauge"]
    for labels, value in rows.items():
        inside = ",".join(f"{key}={_quote(text)}" for key, text in labels)
        lines.append(f"fleet_relay_{name}{f'{{{inside}}}' if inside else ''} {value}")
    return lines


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
