"""What the history holds, as values: no database in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RunStart:
    """What is known when a run begins. Times are ISO 8601 in UTC; `argv` is masked before it is stored."""

    run_id: str
    verb: str
    started_at: str
    playbook: str = ""
    who: str = ""
    where: str = ""
    ticket: str = ""
    reason: str = ""
    git_commit: str = ""
    inventory_digest: str = ""
    argv: tuple[str, ...] = ()
    fleet: str = ""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run as it was recorded; without `finished_at` it was cut off, or is still going on."""

    start: RunStart
    finished_at: str | None = None
    exit_status: int | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Its name."""
        return self.start.run_id


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of an inventory that was valid, by path below its root; what a nightly sweep falls back to."""

    inventory_digest: str
    run_id: str
    recorded_at: str
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class AppliedFleet:
    """The titles and hosts of the whole inventory when it was last applied: what the removal guard compares."""

    run_id: str
    applied_at: str
    inventory_digest: str
    titles: frozenset[str]
    hosts: frozenset[str]


@dataclass(frozen=True, slots=True)
class SheetMark:
    """What a box was last said to hold: by a person (`done`), or by the first run, as it was found (`assumed`)."""

    box: str
    digest: str
    sheet: Mapping[str, Any]
    kind: str
    who: str
    marked_at: str


@dataclass(frozen=True, slots=True)
class FailingSince:
    """A target that is not as desired in the last sweep that asked it, and the first run of that streak."""

    ae_title: str
    address: str
    port: int
    outcome: str
    detail: str
    since_run_id: str
    since_at: str
    sweeps: int
