"""The story a run tells: validate → plan → apply → verify → audit, each step looking at what is there.

The verbs of the command line and the steps of a playbook are the methods of one `Story`: one behaviour, two
doors. A step either adds to the run's ledger or raises a `FleetError`; only the doors print.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from fleet.errors import EmptySelection, InvalidInventory
from fleet.inventory.model import Entity, Host, Inventory
from fleet.plan.conceal import Concealer
from fleet.plan.saved import SavedPlan
from fleet.push.outcome import HostOutcome, Outcome
from fleet.push.transport import Connector
from fleet.report.history.opening import History
from fleet.report.machine import make_run
from fleet.report.page import format_page
from fleet.report.summary import RunReport
from fleet.verify.values import EchoResult
from fleet.workflow.asking import ask_entities, prove_hosts
from fleet.workflow.auditing import audit_hosts, audit_strangers
from fleet.workflow.boxes import box_statuses, boxes_by_hand, mark_boxes_done
from fleet.workflow.changing import Batching, Planned, Work, apply_planned, find_canaries, plan_hosts, unapplied
from fleet.workflow.chronicle import Intent
from fleet.workflow.commit import Commit, read_commit
from fleet.workflow.context import Context
from fleet.workflow.guards import check_guards, unforgotten, unguarded
from fleet.workflow.holding import Held
from fleet.workflow.kept import open_snapshot
from fleet.workflow.ledger import Ledger
from fleet.workflow.page import page_of
from fleet.workflow.reading import Reading, check_limit, read_all, require_failed
from fleet.workflow.rendering import read_with_templates
from fleet.workflow.resuming import find_runs_over, hold_file, hold_run, settle_hosts
from fleet.workflow.sources import list_sources
from fleet.workflow.sweeping import CONTROLLER, Asking, prepare_comparison, record_as_heard, tell_comparison

FAILED = "@failed"
Connect = Callable[[Inventory], AbstractContextManager[Connector]]


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a person has said may happen beyond the ordinary; each is recorded."""

    adopt: bool = False
    allow_removal: int = 0
    forget_hosts: tuple[str, ...] = ()

    def describe(self) -> Iterator[str]:
        """What was allowed, for the record."""
        if self.adopt:
            yield "allowed: files at our paths that no manifest knows are taken over (--adopt)"
        if self.allow_removal:
            yield f"allowed: {self.allow_removal} titles and as many hosts may vanish (--allow-removal)"
        if self.forget_hosts:
            yield f"allowed: hosts that are gone for good: {', '.join(self.forget_hosts)} (--forget-host)"


def permissions_of(saved: SavedPlan) -> Permissions:
    """What was allowed when a plan was made is what is allowed when it is carried out."""
    return Permissions(saved.adopt, saved.allow_removal, saved.forget_hosts)


_GOOD = frozenset({Outcome.UNCHANGED, Outcome.CONVERGED})


class Story:
    """One run over one inventory; connections are opened when a step first needs them."""

    def __init__(self, context: Context, ledger: Ledger, history: History | None, connect: Connect) -> None:
        self.context = context
        self.ledger = ledger
        self._history = history
        self._connect = connect
        self._open = ExitStack()
        self._connector: Connector | None = None
        self._reading: Reading | None = None
        self._planned: tuple[str | None, Planned] | None = None
        self._wants_page = False
        self._limit: str | None = None
        self._read_commit: tuple[Commit | None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def reading(self) -> Reading:
        """The inventory; read and checked on first use, whatever step comes first."""
        if self._reading is None:
            self.validate(templates=False)
        assert self._reading is not None  # noqa: S101  validate sets it or raises
        return self._reading

    @property
    def connector(self) -> Connector:
        """The way to the hosts."""
        if self._connector is None:
            self._connector = self._open.enter_context(self._connect(self.reading.inventory))
        return self._connector

    @property
    def limit(self) -> str | None:
        """The run's `--limit`, with `@failed` looked up in history: once, before this run writes its own there."""
        check_limit(self.context.limit)
        if self.context.limit != FAILED:
            return self.context.limit
        if self._limit is None:
            inventory = self.reading.inventory  # first: it says whose failures are meant
            failed = self._history.failed_names() if self._history else ()
            if self._history and (cut_off := self._history.describe_cut_off()):
                self.ledger.note(cut_off)
            known = [name for name in failed if name in inventory.hosts or inventory.find_entity(name)]
            gone = [name for name in failed if name not in known]
            if gone:
                self.ledger.note(f"@failed: no longer in the inventory: {', '.join(gone)}")
            self._limit = require_failed(tuple(known))
        return self._limit

    def hosts(self, selector: str | None = None) -> tuple[Host, ...]:
        """The hosts that both the play's selector and the limit mean. Raises `EmptySelection`."""
        wanted = self.reading.hosts(self.limit)
        if selector not in (None, "all"):
            also = {host.name for host in self.reading.hosts(selector)}
            wanted = tuple(host for host in wanted if host.name in also)
        if not wanted and self.reading.inventory.hosts:
            raise EmptySelection(f"{selector!r} and --limit {self.limit!r} have no host in common; nothing was done")
        return wanted

    def entities(self, selector: str | None = None) -> tuple[Entity, ...]:
        """The entities that both the play's selector and the limit mean. Raises `EmptySelection`."""
        wanted = self.reading.entities(self.limit)
        if selector not in (None, "all"):
            also = {id(entity) for entity in self.reading.entities(selector)}
            wanted = tuple(entity for entity in wanted if id(entity) in also)
        if not self.reading.inventory.entities:
            raise EmptySelection("the inventory has no entities, so there is nobody to ask; nothing was done")
        if not wanted:
            raise EmptySelection(f"{selector!r} and --limit {self.limit!r} have no entity in common; nothing was done")
        return wanted

    # Steps ---------------------------------------------------------------------------------------------

    def validate(self, *, strict: bool = False, templates: bool = True) -> Reading:
        """Everything that is wrong, at once; raises `InvalidInventory` while an error stands.

        Without `templates` those of the team are left to the step that renders them.
        """
        reading = read_with_templates(self.context) if templates else read_all(self.context)
        self.ledger.concern(reading)
        self.ledger.problems(reading.problems, strict=strict)
        if reading.errors or (strict and reading.problems):
            raise InvalidInventory(reading.problems)
        self.ledger.inventory(reading)
        self._reading = reading
        return reading

    def use_last_valid(self) -> bool:
        """Go on with the last valid inventory from history, and say so; False where there is none."""
        snapshot = self._history.last_valid_inventory() if self._history else None
        if snapshot is None:
            return False
        self.context, self._reading = self._open.enter_context(open_snapshot(snapshot, self.context))
        self.ledger.instead(self._reading.inventory.digest)
        self.ledger.note(
            f"the inventory is invalid: this is the last valid one, of {snapshot.recorded_at} (run {snapshot.run_id})"
        )
        return True

    def hold_file(self, path: Path) -> Held:
        """A saved plan, of this very inventory and not used up. Raises `BrokenPlan`, `PlanStale`."""
        return hold_file(path, self.reading, self.context, self._history)

    def hold_run(self, run_id: str) -> Held:
        """What a run that was cut off has no final outcome for. Raises `PlanStale`, `UsageError`."""
        held = hold_run(run_id, self.reading, self.context, self._history)
        left = f"{len(held.hosts)} of its {len(held.saved.hosts)} hosts have no final outcome"
        self.ledger.note(f"going on with the run {held.resumed}: {left}")
        return held

    def settle(self, held: Held) -> None:
        """Bring to an end what the run that is gone on with left on hosts that it had begun to change."""
        hosts = [self.reading.inventory.hosts[name] for name in sorted(held.begun)]
        for name, said in settle_hosts(held, hosts, self.connector, self.context).items():
            self.ledger.note(f"{name}, of the run {held.resumed}: {said}")

    def plan(
        self, hosts: str | None = None, permissions: Permissions | None = None, held: Held | None = None
    ) -> Planned:
        """What would change, and which boxes a person has to change; changes nothing.

        With a plan that is `held`, what that plan allowed is what is allowed, and hosts that moved on are stale.
        """
        allowed = permissions_of(held.saved) if held is not None else permissions or Permissions()
        reading = self.reading
        check_guards(reading.inventory, self._history, allowed.allow_removal, allowed.forget_hosts, self.context)
        self.ledger.note(*allowed.describe(), *unguarded(reading.inventory, self._history))
        self.ledger.note(*unforgotten(self._history, allowed.forget_hosts))
        chosen = self.hosts(hosts) if held is None else self._held_hosts(held)
        planned = plan_hosts(
            reading,
            self.context,
            chosen,
            self.connector,
            adopt=allowed.adopt,
            held=held,
            concealer=self.read_concealer(),
        )
        self.ledger.origin(self._commit())
        self.ledger.plan(planned.shown, hosts=[host.name for host in chosen])
        self.ledger.hosts(unapplied(planned))
        self.ledger.boxes(*boxes_by_hand(reading, self._history))
        self._planned = (hosts, planned)
        return planned

    def _held_hosts(self, held: Held) -> tuple[Host, ...]:
        chosen = tuple(host for host in self.hosts() if host.name in held.hosts)
        if not chosen and held.hosts:
            raise EmptySelection(f"--limit {self.limit!r} means no host of the plan; nothing was done")
        return chosen

    def read_concealer(self) -> Concealer | None:
        return self._history.read_key() if self._history is not None else None

    def _commit(self) -> Commit | None:
        if self._read_commit is None:
            paths = list_sources(self.reading, self.context)
            self._read_commit = (read_commit(self.context.inventory_root, paths),)
        return self._read_commit[0]

    def save(self, planned: Planned, allowed: Permissions, report: RunReport | None = None) -> SavedPlan:
        """The plan as a value that can be kept."""
        inventory, concealer = self.reading.inventory, self.read_concealer()
        return SavedPlan(
            plan_id=self.context.run_id,
            made_at=self.ledger.report.started_at,
            made_by=f"{self.context.who} on {self.context.where}",
            fleet=inventory.name,
            key_id=concealer.key_id if concealer is not None else "",
            inventory_digest=inventory.digest,
            sources=list_sources(self.reading, self.context),
            hosts=planned.pins,
            adopt=allowed.adopt,
            allow_removal=allowed.allow_removal,
            forget_hosts=allowed.forget_hosts,
            report=make_run(report) if report is not None else {},
        )

    def _planned_for(self, hosts: str | None) -> Planned | None:
        """The plan that an earlier step made of these very hosts; another play's plan is another plan."""
        return self._planned[1] if self._planned is not None and self._planned[0] == hosts else None

    def apply(
        self,
        batching: Batching,
        hosts: str | None = None,
        permissions: Permissions | None = None,
        held: Held | None = None,
    ) -> tuple[HostOutcome, ...]:
        """Carry out the plan (made now where no step before made one) in batches under the budget."""
        planned = self._planned_for(hosts) or self.plan(hosts, permissions, held)
        self._planned = None
        reading = self.reading
        allowed = permissions_of(held.saved) if held is not None else permissions or Permissions()
        would_write = self._begin(planned, batching, allowed, held)

        def prove(changed: Sequence[Host]) -> Mapping[str, str]:
            return prove_hosts(reading, self.context, changed, self.connector)

        def record(outcomes: Sequence[HostOutcome]) -> None:
            self.ledger.hosts(outcomes, planned.by_host)

        over = find_runs_over(self._history, self.context.run_id) if would_write else frozenset()
        work = Work(reading, self.context, self.connector, prove, record, self.ledger.note, self.ledger.touch, over)
        outcomes = apply_planned(work, planned, batching)
        self._remember_applied(reading, outcomes, allowed)
        return outcomes

    def _begin(self, planned: Planned, batching: Batching, allowed: Permissions, held: Held | None) -> bool:
        """Use a saved plan up, and write down what will be done, before the first host is touched."""
        would_write = bool(planned.pending) and not batching.budget.is_spent(len(planned.failures), len(planned.hosts))
        overrides = (*allowed.describe(), *batching.describe())
        self.ledger.note(*batching.describe())
        is_saved = held is not None and held.resumed is None
        if not (would_write or overrides or (held is not None and held.resumed)):
            return would_write
        find_canaries(self.reading, planned.hosts, (), batching.canaries)  # before anything is used up
        saved = self.save(planned, allowed)
        plan_id = held.saved.plan_id if held is not None and is_saved else None
        if would_write and plan_id is not None and self._history is not None:
            self._history.claim_plan(plan_id, self.context.run_id, self.ledger.report.started_at)
        intent = Intent(
            fleet=saved.fleet,
            inventory_digest=saved.inventory_digest,
            plan_digest=held.saved.digest if held is not None else saved.digest,
            hosts=tuple(host.name for host in planned.hosts),
            commit=self._commit(),
            plan_id=plan_id,
            resumed=held.resumed if held is not None else None,
            overrides=overrides,
        )
        self.ledger.begin_change(intent, saved)
        return would_write

    def _remember_applied(self, reading: Reading, outcomes: Sequence[HostOutcome], allowed: Permissions) -> None:
        """What was applied is what the next run is compared with; the first apply takes the boxes as found.

        A run that wrote somewhere counts, also where other hosts failed: an archive that is down for a month
        must not switch the guard off. One that wrote nowhere for its failures does not.
        """
        ended = {outcome.host: outcome.outcome for outcome in outcomes}
        complete = all(outcome in _GOOD for outcome in ended.values())
        if self._history is None or not (complete or Outcome.CONVERGED in ended.values()):
            return
        for name in allowed.forget_hosts:
            self._history.forget_host(name)
        hosts = reading.inventory.hosts
        self.ledger.applied(
            reading.inventory, [name for name, ending in ended.items() if hosts[name].retired and ending in _GOOD]
        )
        if not self._history.sheet_marks():
            mark_boxes_done(self._history, self.context, box_statuses(reading, self._history), kind="assumed")

    def verify(
        self, asking: Asking, hosts: str | None = None, *, drift: bool = False, compare: str | None = None
    ) -> tuple[EchoResult, ...]:
        """Ask every AE that the limit means; with `drift` compare the hosts' files too.

        `compare` is an earlier run, or `last`: what is different since is told.
        """
        reading = self.reading
        entities = self.entities(hosts)
        before = prepare_comparison(compare, self.ledger, self._history)
        if asking.override:
            self.ledger.note(f"override: {self.context.who} asked also what policy, schedules and maintenance spare")
        needs_hosts = asking.sources != (CONTROLLER,) or any(entity.verify.probe_from for entity in entities)
        connector = self.connector if needs_hosts and reading.inventory.hosts else None
        recorded = record_as_heard(asking, self.ledger)
        results = ask_entities(reading, self.context, entities, recorded, connector)
        tell_comparison(before, self.ledger, self.context)
        if drift and reading.inventory.hosts:
            self.drift(hosts)
        return results

    def drift(self, hosts: str | None = None) -> Planned:
        """Compare what the hosts hold with the inventory; pending is what differs."""
        reading = self.reading
        try:
            chosen = self.hosts(hosts)
        except EmptySelection:  # only boxes were meant: there are no files of ours to compare
            chosen = ()
        planned = plan_hosts(reading, self.context, chosen, self.connector)
        self.ledger.plan(planned.plan, hosts=[host.name for host in chosen])
        self.ledger.hosts(unapplied(planned))
        return planned

    def audit(self, hosts: str | None = None, *, strangers: bool = False) -> None:
        """Hold live tables against the flows, and ask as a caller that no flow allows; changes nothing."""
        reading = self.reading
        planned = self._planned_for(hosts) or self.plan(hosts)
        self.ledger.findings(audit_hosts(planned))
        if strangers:
            self.ledger.findings(audit_strangers(reading, self.entities(hosts)))

    def page(self) -> None:
        """Ask for the page for people; it is made when the run is over, so that it tells this run too."""
        self._wants_page = True

    def tell_page(self) -> str:
        """The page that a step asked for, or nothing; after the ledger is finished."""
        if not self._wants_page or self._history is None or self._reading is None:
            return ""
        return format_page(page_of(self._history, self._reading, self.context))
