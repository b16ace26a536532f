"""Failures with one cause told once: "13 connect_timeout: all of site=south".

A cause is a value that failures have in common (a site, a host, an asker, a network) when everything that was
asked there ended the same way. Pure; nothing is guessed from a part of a group.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any, Final

from fleet.report.summary import EchoLine

MIN_SHARED: Final = 3
_DIMENSIONS: Final = ("from", "site", "network", "virtual_service", "host", "calling")


@dataclass(frozen=True, slots=True)
class SharedCause:
    """All `count` targets with `dimension`=`value` ended with one failing outcome; `lines` are they."""

    outcome: str
    dimension: str
    value: str
    lines: tuple[EchoLine, ...]
    since: str = ""

    @property
    def count(self) -> int:
        """How many."""
        return len(self.lines)

    def __str__(self) -> str:
        where = "all that were asked" if not self.dimension else f"all of {self.dimension}={self.value}"
        since = f" since {self.since}" if self.since else ""
        return f"{self.count} {self.outcome}: {where}{since}"


def find_shared_causes(lines: Sequence[EchoLine]) -> tuple[tuple[SharedCause, ...], tuple[EchoLine, ...]]:
    """The causes that failures share, the largest first, and the failures that share none."""
    failing = [line for line in lines if not line.as_desired]
    if len(failing) < MIN_SHARED:
        return (), tuple(failing)
    causes: list[SharedCause] = []
    told: set[int] = set()
    for cause in sorted(_candidates(lines), key=lambda cause: -cause.count):
        if not any(id(line) in told for line in cause.lines):
            causes.append(cause)
            told |= {id(line) for line in cause.lines}
    return tuple(causes), tuple(line for line in failing if id(line) not in told)


def _candidates(lines: Sequence[EchoLine]) -> Iterator[SharedCause]:
    """Whole groups with one failing outcome, the widest dimension first where two are of one size."""
    groups: dict[tuple[str, str], list[EchoLine]] = defaultdict(list)
    for line in lines:
        if not line.outcome.startswith("skipped"):
            for dimension in ("", *_DIMENSIONS):
                value = _value(line, dimension)
                if value is not None:
                    groups[dimension, value].append(line)
    for (dimension, value), members in groups.items():
        outcome = members[0].outcome
        if len(members) >= MIN_SHARED and not any(line.as_desired or line.outcome != outcome for line in members):
            yield SharedCause(outcome, dimension, value, tuple(members))


def _value(line: EchoLine, dimension: str) -> str | None:
    if not dimension:
        return ""
    if dimension != "network":
        value = line.value(dimension)
        return None if value is None else str(value)
    try:
        address = ip_address(str(line.value("address")))
    except ValueError:
        return None
    return str(ip_network((address, 24 if address.version == 4 else 64), strict=False))


def add_since(cause: SharedCause, failing_since: Mapping[tuple[Any, ...], str], started_at: str) -> SharedCause:
    """The cause with the time from which all its members fail, where that was before this run.

    The time of day for today, the date as well for an earlier day; times are UTC, as in all records.
    """
    times = [
        failing_since.get((line.value("ae_title"), line.value("address"), line.value("port"))) for line in cause.lines
    ]
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        return cause
    since = max(known)
    if since >= started_at:
        return cause
    day, clock = since[:10], f"{since[11:16]}Z"
    return replace(cause, since=clock if day == started_at[:10] else f"{day} {clock}")
