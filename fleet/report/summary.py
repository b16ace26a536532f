"""What every door prints, stores and exits by: one value for a run, and the one rule of the exit status.

The lines here are plain data, so that this room knows neither how a host is changed nor how an echo is asked.
Counts always add up: what was planned or asked and is not reported is `unknown`, and `unknown` is wrong.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol, Self

from fleet.errors import Problem, Severity
from fleet.report import echo_rows

AS_DESIRED = 0
BROKEN = 1
WRONG = 2
PENDING = 3


def choose_exit_status(*, broken: bool = False, wrong: bool = False, pending: bool = False) -> int:
    """Of several, the first of 1, 2, 3, 0 that is true: the rule of every verb.

    `broken`: fleet could not do its work; `wrong`: it did, and found something wrong; `pending`: changes to
    hosts are pending.
    """
    if broken:
        return BROKEN
    if wrong:
        return WRONG
    return PENDING if pending else AS_DESIRED


class Verdict(StrEnum):
    """What an ending means for the exit status."""

    GOOD = "good"
    PENDING = "pending"
    WRONG = "wrong"


# The words of `fleet.push.outcome`; any other word, `unknown` and those to come, is wrong until it stands here.
_HOST_VERDICTS: Mapping[str, Verdict] = MappingProxyType(
    {"unchanged": Verdict.GOOD, "converged": Verdict.GOOD, "pending": Verdict.PENDING}
)


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that a run changed on a host: digests before and after, None where there was or is no file."""

    path: str
    before_digest: str | None = None
    after_digest: str | None = None


@dataclass(frozen=True, slots=True)
class HostLine:
    """How one host ended; `outcome` is a word of push's closed set."""

    host: str
    outcome: str
    phase: str = ""
    detail: str = ""
    files: tuple[FileChange, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Good, pending or wrong; a word that nobody knows is wrong."""
        return _HOST_VERDICTS.get(self.outcome, Verdict.WRONG)


class EchoLine:
    """One result of a sweep: the contract's JSON object, and whether it is as desired.

    `as_desired` is verify's word: it knows what the inventory accepts of this entity. Kept as columns and made a
    JSON object when asked, so that 100,000 of them are small.
    """

    __slots__ = ("columns",)

    def __init__(self, row: Mapping[str, Any], as_desired: bool) -> None:
        self.columns: echo_rows.Columns = echo_rows.make_columns(row, as_desired)

    @classmethod
    def from_columns(cls, columns: echo_rows.Columns) -> Self:
        """A result as the history gives it back."""
        line = cls.__new__(cls)
        line.columns = columns
        return line

    @property
    def row(self) -> dict[str, Any]:
        """The contract's JSON object, made anew each time."""
        return echo_rows.make_row(self.columns)

    @property
    def as_desired(self) -> bool:
        """Whether it answered, ended as its `accept` allows, or was skipped."""
        return bool(self.columns[echo_rows.AS_DESIRED])

    @property
    def outcome(self) -> str:
        """The word of the contract."""
        outcome: str = self.columns[echo_rows.OUTCOME]
        return outcome

    @property
    def is_skipped(self) -> bool:
        """Nobody asked: policy or maintenance spared it."""
        return self.outcome.startswith("skipped")

    @property
    def warnings(self) -> list[str]:
        """What else is worth knowing."""
        return echo_rows.read_warnings(self.columns)

    def value(self, key: str) -> Any:
        """One plain value of the object, such as `ae_title` or `connect_s`, without making the object."""
        return self.columns[echo_rows.INDEX[key]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EchoLine) and self.columns == other.columns

    def __hash__(self) -> int:
        return hash(self.columns)

    def __repr__(self) -> str:
        return f"EchoLine({self.row!r}, {self.as_desired!r})"


@dataclass(frozen=True, slots=True)
class BoxLine:
    """A box that has to be changed by hand: its title, why it is open, and what changed on its sheet."""

    box: str
    why: str
    changes: tuple[str, ...] = ()
    contact: str = ""


class Folded(Protocol):
    """One change and the hosts that it is the same on (plan's `FoldedDiff`): a sentence, and the diff below it."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where it is the same."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The sentence, then the diff."""


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A `Folded` of our own."""

    hosts: tuple[str, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestartLine:
    """A service that would be restarted: `open` associations were on its port when the host was read (None where
    the host does not tell); it waits `drain_s` for them and then cuts what is left."""

    host: str
    unit: str
    port: int
    open: int | None
    drain_s: float


@dataclass(frozen=True, slots=True)
class FindingLine:
    """What an audit found wrong: where, its stable code, and the sentence."""

    host: str
    path: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class WaiverLine:
    """A problem that a team has accepted until a date; listed in every report."""

    code: str
    where: str
    until: str
    reason: str


@dataclass(frozen=True)
class RunReport:
    """One run of one verb: what it was asked, and all that came of it.

    `failure` is why fleet could not do its work. `planned_hosts` and `asked` are what had to be reported; what
    is missing among `hosts` and `echoes` counts as unknown. `by_hand` are the open boxes, `unconfirmed` those
    that nobody ever said to hold what their sheets say.
    """

    verb: str
    run_id: str
    started_at: str
    finished_at: str
    inventory_digest: str = ""
    playbook: str = ""
    strict: bool = False
    failure: str = ""
    problems: tuple[Problem, ...] = ()
    plan_counts: Mapping[str, int] = field(default_factory=dict)
    diffs: Sequence[Folded] = ()
    restarts: tuple[RestartLine, ...] = ()
    planned_hosts: tuple[str, ...] = ()
    hosts: tuple[HostLine, ...] = ()
    asked: int | None = None
    echoes: Sequence[EchoLine] = ()
    findings: tuple[FindingLine, ...] = ()
    waivers: tuple[WaiverLine, ...] = ()
    warnings: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    by_hand: tuple[BoxLine, ...] = ()
    unconfirmed: tuple[str, ...] = ()
    failing_since: Mapping[tuple[Any, ...], str] = field(default_factory=dict)  # (title, address, port) → time

    @cached_property
    def all_hosts(self) -> tuple[HostLine, ...]:
        """Every host that was planned: those that nobody reported are `unknown`."""
        reported = {line.host for line in self.hosts}
        missing = (host for host in self.planned_hosts if host not in reported)
        return (*self.hosts, *(HostLine(host, "unknown", detail="nobody reported how it ended") for host in missing))

    @cached_property
    def not_reached(self) -> tuple[str, ...]:
        """Hosts whose turn never came."""
        return tuple(line.host for line in self.all_hosts if line.outcome == "not_reached")

    @cached_property
    def host_counts(self) -> Mapping[str, int]:
        """How many hosts ended how; adds up to the hosts that were planned."""
        return count_outcomes(line.outcome for line in self.all_hosts)

    @cached_property
    def unreported(self) -> int:
        """How many targets were asked that nobody reported."""
        return max(0, (self.asked or 0) - len(self.echoes))

    @cached_property
    def echo_counts(self) -> Mapping[str, int]:
        """How many targets ended how, in the words of the contract; adds up to those that were asked."""
        return count_outcomes(line.outcome for line in self.echoes) if not self.unreported else self._with_unknown()

    def _with_unknown(self) -> Mapping[str, int]:
        words = [line.outcome for line in self.echoes]
        return count_outcomes([*words, *["unknown"] * self.unreported])

    @cached_property
    def failed_echoes(self) -> tuple[EchoLine, ...]:
        """The results that are not as desired."""
        return tuple(line for line in self.echoes if not line.as_desired)

    @cached_property
    def failed_names(self) -> tuple[str, ...]:
        """Titles and hosts that are not as desired: what `-l @failed` means, sorted."""
        hosts = (line.host for line in self.all_hosts if line.verdict is Verdict.WRONG)
        titles = (str(line.value("ae_title")) for line in self.failed_echoes)
        return tuple(sorted({*hosts, *titles}))

    @property
    def has_wrong(self) -> bool:
        """Whether something was found wrong."""
        stopping = any(problem.severity is Severity.ERROR or self.strict for problem in self.problems)
        hosts = any(line.verdict is Verdict.WRONG for line in self.all_hosts)
        return stopping or hosts or bool(self.failed_echoes) or bool(self.findings) or self.unreported > 0

    @property
    def has_pending(self) -> bool:
        """Whether changes to hosts are pending; boxes by hand do not count."""
        return any(line.verdict is Verdict.PENDING for line in self.all_hosts)

    @property
    def exit_status(self) -> int:
        """The contract's exit status of this run."""
        return choose_exit_status(broken=bool(self.failure), wrong=self.has_wrong, pending=self.has_pending)


def count_outcomes(words: Iterable[str]) -> Mapping[str, int]:
    """How often each word, the most frequent first, then by word."""
    counted = Counter(words)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def summarize_echoes(report: RunReport) -> Mapping[str, int]:
    """The `summary` object of a sweep: the total, then each outcome that occurred."""
    return {"total": sum(report.echo_counts.values()), **report.echo_counts}
