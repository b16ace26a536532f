"""The steps of a plan as values: what would have to happen on a host, in the order in which it would.

Folders, files (each with its product's check), units that are no longer wanted, removals, daemon-reload,
units, the team's handlers; a record of what is ours last. Everything is staged and checked before the first
rename, so the order of the file steps is only what a reader sees.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from fleet.plan.manifest import Manifest
from fleet.render.artifacts import FileCheck, RenderedHost


class WriteReason(StrEnum):
    """Why a file is written."""

    CREATE = "create"
    CHANGE = "change"
    MODE = "mode"  # the content is right; mode or owner is not
    ADOPT = "adopt"  # a file at our path that no manifest knows


class UnitReason(StrEnum):
    """Why a unit is touched."""

    CHANGED = "changed"  # a file that it reads changes in this plan
    OWED = "owed"  # it still runs an older file: an earlier run was cut off, or it was never ours
    STOPPED = "stopped"  # it should run and does not
    UNWANTED = "unwanted"  # the inventory no longer wants it


@dataclass(frozen=True, slots=True)
class FileState:
    """A regular file: `content` is None where the host did not send it."""

    digest: str
    mode: int
    owner: str | None
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """Make one missing folder; never removed again."""

    path: str
    mode: int
    owner: str


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Put a file in place; the one before (if any) is kept on the host."""

    path: str
    reason: WriteReason
    before: FileState | None
    after: FileState


@dataclass(frozen=True, slots=True)
class RunCheck:
    """Let the product check its own staged file before anything goes live."""

    path: str
    check: FileCheck


@dataclass(frozen=True, slots=True)
class StopUnit:
    """Stop and disable a unit that is no longer wanted."""

    unit: str


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Remove a file of ours that the inventory no longer wants; a copy is kept on the host."""

    path: str
    before: FileState


@dataclass(frozen=True, slots=True)
class DaemonReload:
    """Let systemd read its unit files again."""


@dataclass(frozen=True, slots=True)
class EnableUnit:
    """Let a unit start at boot."""

    unit: str


@dataclass(frozen=True, slots=True)
class StartUnit:
    """Start a unit that does not run."""

    unit: str
    restart_token: str
    reload_token: str


@dataclass(frozen=True, slots=True)
class RestartUnit:
    """Restart a unit; `drain_s` is how long that may wait for open associations."""

    unit: str
    reason: UnitReason
    restart_token: str
    reload_token: str
    drain_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ReloadUnit:
    """Let a unit read its files again without a stop."""

    unit: str
    reason: UnitReason
    restart_token: str
    reload_token: str


@dataclass(frozen=True, slots=True)
class RunHandler:
    """Run a team's own command, once however many files name it."""

    command: str
    reason: UnitReason
    token: str


@dataclass(frozen=True, slots=True)
class RecordManifest:
    """Write down what is ours where no file has to change: right already, or gone already."""

    claimed: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CleanLeftover:
    """Remove what a run that was cut off had staged."""


Step = (
    MakeFolder
    | WriteFile
    | RunCheck
    | StopUnit
    | RemoveFile
    | DaemonReload
    | EnableUnit
    | StartUnit
    | RestartUnit
    | ReloadUnit
    | RunHandler
    | RecordManifest
    | CleanLeftover
)


@dataclass(frozen=True, slots=True)
class PlanProblem:
    """Why a host cannot be brought to what was rendered; it counts as failed and nothing is written there."""

    code: str
    message: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class OpenAssociations:
    """What a restart of a unit may cut: `count` connections were open on its port when the host was read; None
    where the host does not tell. The restart waits `drain_s` for them to end."""

    unit: str
    port: int
    count: int | None
    drain_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What would remove the drift of one host.

    `during` is the manifest while files are being switched (old and new, so that a run that is cut off
    leaves nothing that nobody knows), `after` the one that stays; `before` the one that was read.
    `unseen` are files of ours that this login may not read: of them the manifest alone was compared. `open` are
    the associations that its restarts may cut.
    """

    host: str
    rendered: RenderedHost
    steps: tuple[Step, ...] = ()
    problems: tuple[PlanProblem, ...] = ()
    before: Manifest = field(default_factory=Manifest)
    during: Manifest = field(default_factory=Manifest)
    after: Manifest = field(default_factory=Manifest)
    unseen: tuple[str, ...] = ()
    open: tuple[OpenAssociations, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing to change, nothing in the way."""
        return not self.steps and not self.problems

    @property
    def writes(self) -> tuple[WriteFile, ...]:
        """The files that would be written."""
        return tuple(step for step in self.steps if isinstance(step, WriteFile))

    @property
    def removals(self) -> tuple[RemoveFile, ...]:
        """The files that would be removed."""
        return tuple(step for step in self.steps if isinstance(step, RemoveFile))


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """The numbers under a plan."""

    hosts: int
    changing: int
    blocked: int
    writes: int
    removals: int
    units: int
    handlers: int
    associations: int = 0  # open when the hosts were read, on services that would be restarted


@dataclass(frozen=True, slots=True)
class Plan:
    """The plans of all hosts that could be read, for one state of the inventory."""

    hosts: tuple[HostPlan, ...]
    inventory_digest: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether every host is as desired."""
        return all(host.is_empty for host in self.hosts)

    @property
    def counts(self) -> PlanCounts:
        """How much it would do."""
        steps = [step for host in self.hosts for step in host.steps]
        return PlanCounts(
            hosts=len(self.hosts),
            changing=sum(1 for host in self.hosts if host.steps),
            blocked=sum(1 for host in self.hosts if host.problems),
            writes=sum(isinstance(step, WriteFile) for step in steps),
            removals=sum(isinstance(step, RemoveFile) for step in steps),
            units=sum(isinstance(step, StopUnit | EnableUnit | StartUnit | RestartUnit | ReloadUnit) for step in steps),
            handlers=sum(isinstance(step, RunHandler) for step in steps),
            associations=sum(each.count or 0 for host in self.hosts for each in host.open),
        )
