"""report: one run as it happens, recorded on the way, and in the end the one value that every door prints.

What is recorded is what was done: a run that is cut off leaves its beginning, the hosts and the echoes that it
had. The history never decides anything here; it only answers what was before.

A sweep of a list has a ledger too, and needs none of the inventory's and the plan's modules: they are imported
where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fleet.errors import FleetError, HistoryError, InvalidInventory, Problem
from fleet.report.history.opening import History
from fleet.report.machine import make_run_summary
from fleet.report.masking import mask_secrets
from fleet.report.records import AppliedFleet, RunStart, Snapshot
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
from fleet.verify.values import EchoResult
from fleet.workflow.chronicle import Chronicle
from fleet.workflow.context import Context
from fleet.workflow.echo_lines import make_echo_line

if TYPE_CHECKING:
    from fleet.audit.tables import Finding
    from fleet.documents.values import Documents
    from fleet.inventory.model import Inventory
    from fleet.plan.conceal import Concealer
    from fleet.plan.saved import SavedPlan
    from fleet.plan.steps import HostPlan, Plan
    from fleet.push.outcome import HostOutcome
    from fleet.workflow.chronicle import Intent
    from fleet.workflow.commit import Commit
    from fleet.workflow.reading import Reading

BEGUN = "begun"  # the phase of a host that is being changed
_RESULTS_AT_ONCE = 2000  # recorded together: a run that is killed loses the last of them, not the night's


class Ledger:
    """One run's book: opened with the run, closed with its report."""

    def __init__(self, context: Context, history: History | None, verb: str, **start: Any) -> None:
        self._context = context
        self._mask = context.vault.mask  # what a host, a product or a bug says may hold what it had in its hands
        self._history = history
        self._report = RunReport(verb, context.run_id, self._now(), "", playbook=start.get("playbook", ""))
        self._recorded_hosts: dict[str, HostLine] = {}
        self._recorded_echoes: list[EchoLine] = []
        self._heard: list[EchoLine] = []
        self._heard_at = context.clock()
        self._asked = 0
        self._finished = False
        self.chronicle: Chronicle | None = None
        if history is not None:
            self.chronicle = Chronicle(context, history, verb)
            begun = RunStart(
                context.run_id, verb, self._report.started_at, who=context.who, where=context.where, **start
            )
            history.record_run_start(replace(begun, reason=context.reason))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            self.finish(error)

    def _now(self) -> str:
        return self._context.clock().strftime("%Y-%m-%dT%H:%M:%SZ")

    def _put(self, **values: Any) -> None:
        self._report = replace(self._report, **values)

    def note(self, *notices: str) -> None:
        """Sentences that the reader of the report must see."""
        self._put(notices=(*self._report.notices, *map(self._mask, notices)))

    def problems(self, problems: Sequence[Problem], *, strict: bool = False) -> None:
        """What is wrong with the inventory."""
        masked = tuple(replace(each, message=self._mask(each.message)) for each in problems)
        self._put(problems=masked, strict=strict)

    def concern(self, reading: Reading) -> None:
        """Which fleet this run is about, also where its inventory is not valid: nothing else is compared with."""
        if self._history is None:
            return
        name = reading.inventory.name
        if not name:  # the very file that says it cannot be read
            fleets = self._history.concern_what_there_is()
            if len(fleets) > 1:
                self.note(
                    f"the fleet's name cannot be read, and history holds {', '.join(fleets)}: it is not known which of"
                    " them this is"
                )
                self._history.concern("")
            name = fleets[0] if len(fleets) == 1 else ""
        if name:
            self._history.record_fleet(self._context.run_id, name)

    def inventory(self, reading: Reading) -> None:
        """The inventory that this run works on; a valid one is kept, for the night when it is not."""
        waivers = tuple(
            WaiverLine(each.code, each.where, each.until, each.reason) for each in reading.inventory.waivers
        )
        self._put(inventory_digest=reading.inventory.digest, waivers=waivers)
        if self._history is not None and not reading.errors:
            files = snapshot_files(reading.documents, reading.inventory)
            self._history.record_inventory(Snapshot(reading.inventory.digest, self._context.run_id, self._now(), files))

    def plan(self, plan: Plan, *, hosts: Iterable[str] = ()) -> None:
        """What would change."""
        from fleet.plan.diff import fold_diffs

        counts = plan.counts
        self._put(
            plan_counts={name: getattr(counts, name) for name in counts.__dataclass_fields__},
            diffs=tuple(
                DiffLine(tuple(folded.hosts), tuple(map(mask_secrets, folded.lines)))
                for folded in fold_diffs(plan, self._context.vault.fingerprint)
            ),
            restarts=tuple(
                RestartLine(each.host, one.unit, one.port, one.count, one.drain_s)
                for each in plan.hosts
                for one in each.open
            ),
            planned_hosts=tuple(hosts) or tuple(each.host for each in plan.hosts),
        )
        self.note(*_unseen(plan))

    def hosts(self, outcomes: Iterable[HostOutcome], plans: Mapping[str, HostPlan] | None = None) -> None:
        """How hosts ended; a later word about a host replaces the earlier one."""
        outcomes = tuple(outcomes)
        concealer = self._history.read_key() if self._history is not None and plans else None
        told = (_host_line(outcome, (plans or {}).get(outcome.host), concealer) for outcome in outcomes)
        lines = [replace(line, detail=self._mask(line.detail)) for line in told]
        self._recorded_hosts |= {line.host: line for line in lines}
        if self._history is not None:
            self._history.record_host_outcomes(self._context.run_id, lines)
        if self.chronicle is not None and plans is not None:
            self.chronicle.end_hosts(lines)
            for each in outcomes:
                if each.broken_lock:
                    self.chronicle.override("broken lock", host=each.host, whose=each.broken_lock)

    def begin_change(self, intent: Intent, plan: SavedPlan) -> None:
        """Written down before the first host is touched: who is about to do what, and the plan itself."""
        from fleet.plan.saved import format_saved_plan

        if self._history is not None and self.chronicle is not None:
            text = format_saved_plan(plan, self._history.read_key())
            self._history.record_plan(self._context.run_id, text, resumed=intent.resumed)
            self.chronicle.begin(intent)

    def touch(self, hosts: Sequence[str]) -> None:
        """These hosts are changed from now on: without a later word about one, it was cut off there."""
        from fleet.push.outcome import HostOutcome, Outcome

        text = "begun, and not known to have ended"
        self.hosts(HostOutcome(host, Outcome.PENDING, BEGUN, text) for host in hosts)
        if self.chronicle is not None:
            self.chronicle.touch(hosts)

    def echo(self, result: EchoResult) -> None:
        """How one target answered; recorded with its neighbours, or when `keep_late_echoes` finds it waiting."""
        self._heard.append(make_echo_line(result))
        if len(self._heard) >= _RESULTS_AT_ONCE:
            self.keep_echoes()

    def keep_late_echoes(self) -> None:
        """Record what has waited for a second; to be called often, also while nobody answers."""
        if self._heard and (self._context.clock() - self._heard_at).total_seconds() >= 1.0:
            self.keep_echoes()

    def keep_echoes(self) -> None:
        """Record what was heard until now."""
        lines, self._heard, self._heard_at = self._heard, [], self._context.clock()
        self._recorded_echoes += lines
        self._asked += len(lines)
        if self._history is not None and lines:
            self._history.record_echo_results(self._context.run_id, lines)

    @property
    def echo_lines(self) -> Sequence[EchoLine]:
        """The results of this run that were recorded until now."""
        return tuple(self._recorded_echoes)

    @property
    def report(self) -> RunReport:
        """What there is to say until now."""
        return replace(self._report, hosts=tuple(self._recorded_hosts.values()))

    def instead(self, inventory_digest: str) -> None:
        """Another inventory than the one that was typed: the last valid one, already recorded when it was."""
        self._put(inventory_digest=inventory_digest)

    def origin(self, commit: Commit | None) -> None:
        """Of which commit the inventory is, where that can be told."""
        if self._history is not None and commit is not None:
            self._history.record_origin(self._context.run_id, str(commit))

    def applied(self, inventory: Inventory, clean: Collection[str] = ()) -> None:
        """The whole inventory as it was applied: what the next run's removal guard compares with.

        `clean` are the retired hosts that hold nothing of ours any more: they may be deleted from the files.
        """
        if self._history is None:
            return
        titles = frozenset(title for entity in inventory.entities for title in entity.titles)
        hosts = frozenset(inventory.hosts) - frozenset(clean)
        for name in clean:
            self._history.forget_host(name)
        self._history.record_applied(AppliedFleet(self._context.run_id, self._now(), inventory.digest, titles, hosts))

    def findings(self, findings: Iterable[Finding]) -> None:
        """What an audit found: each is wrong."""
        lines = [FindingLine(each.host, each.path, each.code, self._mask(each.message)) for each in findings]
        self._put(findings=(*self._report.findings, *lines))

    def boxes(self, by_hand: Sequence[BoxLine], unconfirmed: Sequence[str]) -> None:
        """The boxes that a person has to change."""
        self._put(by_hand=tuple(by_hand), unconfirmed=tuple(unconfirmed))

    def _failing_since(self) -> Mapping[tuple[Any, ...], str]:
        """Since when that fails which fails now; nothing is looked up where nothing does."""
        if self._history is None or all(line.as_desired for line in self._recorded_echoes):
            return {}
        return {(each.ae_title, each.address, each.port): each.since_at for each in self._history.failing_since()}

    def finish(self, error: BaseException | None = None) -> RunReport:
        """Close the run with its one value; `error` is why it ended before its time.

        Where it cannot be recorded (a full disk) it is told all the same: hosts may have been changed.
        """
        self._attempt(self.keep_echoes)
        told = self._mask(str(error))
        if isinstance(error, KeyboardInterrupt):
            more = "; `fleet apply --resume last` goes on" if self.chronicle and self.chronicle.has_begun else ""
            told = "interrupted; what was done until then is recorded, and `fleet history last` shows it"
            self._put(failure=told + more)
        elif isinstance(error, InvalidInventory) and self._report.has_wrong:
            pass  # its problems are told already, each where it stands
        elif isinstance(error, FleetError) and error.found_wrong:
            self._put(findings=(*self._report.findings, FindingLine("", self._report.verb, "refused", told)))
        elif error is not None:
            self._put(failure=told or type(error).__name__)
            if isinstance(error, HistoryError) and self.chronicle and self.chronicle.has_begun:
                self.note("hosts were being changed: when that is mended, `fleet apply --resume last` goes on")
        self._finished = True
        self._put(
            finished_at=self._now(),
            hosts=tuple(self._recorded_hosts.values()),
            echoes=tuple(sorted(self._recorded_echoes, key=_story_order)),
            asked=self._asked or None,
        )
        self._attempt(lambda: self._put(failing_since=self._failing_since()))
        self._attempt(self._close_chronicle)
        self._attempt(self._record_finish)
        return self._report

    def _attempt(self, record: Callable[[], None]) -> None:
        """What cannot be recorded or looked up fails the run, and hides nothing of it."""
        try:
            record()
        except HistoryError as error:
            self._put(failure=self._report.failure or str(error))

    def _close_chronicle(self) -> None:
        """The last line of the journal, told so that it can be kept where nobody who has our files can reach it."""
        head = self.chronicle.finish(self._report.exit_status, self._report.host_counts) if self.chronicle else None
        if head is not None:
            self.note(f"journal: {head}")

    def _record_finish(self) -> None:
        report = self._report
        if self._history is not None:
            summary = make_run_summary(report)
            self._history.record_run_finish(self._context.run_id, report.finished_at, report.exit_status, summary)


def _story_order(line: EchoLine) -> tuple[Any, ...]:
    """By site and title: results come in the order of the network, and are read in the order of the fleet."""
    title, site, _, service, address, port, _, asker = line.columns[:8]
    return site or "", title, asker, service or "", address, port


def _unseen(plan: Plan) -> Iterator[str]:
    """What a login without rights could not look into; equal sentences once."""
    by_path: dict[str, list[str]] = {}
    for each in plan.hosts:
        for path in each.unseen:
            by_path.setdefault(path, []).append(each.host)
    for path, hosts in sorted(by_path.items()):
        where = ", ".join(hosts)
        yield f"{path} on {where} cannot be read by this login: its manifest was compared, its content was not"


def _host_line(outcome: HostOutcome, plan: HostPlan | None, concealer: Concealer | None) -> HostLine:
    """A host's line with the digests of the files that its plan changed, where it was carried out."""
    from fleet.plan.steps import RemoveFile, WriteFile

    changes: list[FileChange] = []
    if plan is not None and outcome.outcome == "converged":
        for step in plan.steps:
            if isinstance(step, WriteFile):
                before = step.before.digest if step.before else None
                changes.append(FileChange(step.path, before, step.after.digest))
            elif isinstance(step, RemoveFile):
                changes.append(FileChange(step.path, step.before.digest, None))
        secret = _veiled_paths(plan)
        changes = [_concealed(change, concealer) if change.path in secret else change for change in changes]
    return HostLine(outcome.host, outcome.outcome.value, outcome.phase, outcome.detail, tuple(changes))


def _veiled_paths(plan: HostPlan) -> frozenset[str]:
    """The files that hold secrets, or may have held some."""
    from fleet.plan.steps import RemoveFile, WriteFile
    from fleet.plan.veil import Veil

    wanted = {file.path: file for file in plan.rendered.files}
    steps = [step for step in plan.steps if isinstance(step, WriteFile | RemoveFile)]
    return frozenset(step.path for step in steps if Veil(wanted.get(step.path)).covers(step.path, step.before))


def _concealed(change: FileChange, concealer: Concealer | None) -> FileChange:
    """Of a file that holds secrets a plain digest is kept nowhere."""
    digests = (change.before_digest, change.after_digest)
    before, after = (concealer.mark(each) if each and concealer else None for each in digests)
    return FileChange(change.path, before, after)


def snapshot_files(documents: Documents, inventory: Inventory) -> dict[str, bytes]:
    """Every file that the inventory consists of, by path below its root."""
    from fleet.documents.files import read_beside

    names = {path for path, _ in documents.digests}
    names |= {file.template for file in inventory.files}
    for certificate in inventory.certificates.values():
        names |= {name for name in (certificate.ca_file, certificate.cert_file) if name}
    files = {name: read_beside(documents.root, name) for name in sorted(names)}
    return files | _sealed_keys(documents, inventory)


def _sealed_keys(documents: Documents, inventory: Inventory) -> dict[str, bytes]:
    """Keys that lie beside the inventory encrypted; one in clear is not kept twice."""
    from fleet.documents.files import read_beside
    from fleet.secrets.vault_format import is_vault_text

    names = {certificate.key_file for certificate in inventory.certificates.values() if certificate.key_file}
    files = {name: read_beside(documents.root, name) for name in sorted(names)}
    return {name: data for name, data in files.items() if is_vault_text(data)}
