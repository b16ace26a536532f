"""The story a run tells: validate → plan → apply → verify → audit, each step looking at what is there.

The verbs of the command line and the steps of a playbook are the methods of one `Story`: one behaviour, two
doors. A step either adds to the run's ledger or raises a `FleetError`; only the doors print.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from fleet.errors import EmptySelection, InvalidInventory
from fleet.inventory.model import Entity, Host, Inventory
from fleet.push.outcome import HostOutcome
from fleet.push.transport import Connector
from fleet.report.history import History
from fleet.report.page import format_page
from fleet.validate.removal import check_removal
from fleet.verify.sweep import sweep
from fleet.verify.values import EchoResult, EchoTarget
from fleet.workflow.asking import Asking, ask_entities, prove_hosts
from fleet.workflow.auditing import audit_hosts, audit_strangers
from fleet.workflow.boxes import box_statuses, boxes_by_hand, mark_boxes_done
from fleet.workflow.changing import Batching, Planned, Work, apply_planned, plan_hosts, unapplied
from fleet.workflow.context import Context
from fleet.workflow.ledger import Ledger
from fleet.workflow.page import page_of
from fleet.workflow.reading import Reading, check_limit, read_all, require_failed

Connect = Callable[[Inventory], AbstractContextManager[Connector]]


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a person has said may happen beyond the ordinary; each is recorded."""

    adopt: bool = False
    allow_removal: int = 0
    forget_hosts: tuple[str, ...] = ()


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
        self._planned: Planned | None = None

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
            self.validate()
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
        """The run's `--limit`, with `@failed` looked up in history."""
        check_limit(self.context.limit)
        if self.context.limit == "@failed":
            return require_failed(self._history.failed_names() if self._history else ())
        return self.context.limit

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
        if not wanted:
            raise EmptySelection(f"{selector!r} and --limit {self.limit!r} have no entity in common; nothing was done")
        return wanted

    # Steps ---------------------------------------------------------------------------------------------

    def validate(self, *, strict: bool = False) -> Reading:
        """Everything that is wrong, at once; raises `InvalidInventory` while an error stands."""
        reading = read_all(self.context)
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
        folder = Path(self._open.enter_context(TemporaryDirectory(prefix="fleet-last-valid-")))
        for name, content in snapshot.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.context = replace(self.context, inventory_root=folder)
        self._reading = read_all(self.context)
        self.ledger.note(
            f"the inventory is invalid: this is the last valid one, of {snapshot.recorded_at} (run {snapshot.run_id})"
        )
        return True

    def plan(self, hosts: str | None = None, permissions: Permissions | None = None) -> Planned:
        """What would change, and which boxes a person has to change; changes nothing."""
        allowed = permissions or Permissions()
        reading = self.reading
        self._check_guards(reading, allowed)
        chosen = self.hosts(hosts)
        planned = plan_hosts(reading, self.context, chosen, self.connector, adopt=allowed.adopt)
        self.ledger.plan(planned.plan, hosts=[host.name for host in chosen])
        self.ledger.hosts(unapplied(planned))
        self.ledger.boxes(*boxes_by_hand(reading, self._history))
        self._planned = planned
        return planned

    def apply(
        self, batching: Batching, hosts: str | None = None, permissions: Permissions | None = None
    ) -> tuple[HostOutcome, ...]:
        """Carry out the plan (made now where no step before made one) in batches under the budget."""
        planned = self._planned or self.plan(hosts, permissions)
        reading = self.reading

        def prove(changed: Sequence[Host]) -> Mapping[str, str]:
            return prove_hosts(reading, changed)

        outcomes = apply_planned(Work(reading, self.context, self.connector, prove), planned, batching)
        self.ledger.hosts(outcomes, planned.by_host)
        self._remember_applied(reading, outcomes)
        self._planned = None
        return outcomes

    def _remember_applied(self, reading: Reading, outcomes: Sequence[HostOutcome]) -> None:
        """What was applied is what the next run is compared with; the first apply takes the boxes as found."""
        if self._history is None or any(outcome.outcome.is_failure for outcome in outcomes):
            return
        self.ledger.applied(reading.inventory)
        if not self._history.sheet_marks():
            mark_boxes_done(self._history, self.context, box_statuses(reading, self._history), kind="assumed")

    def verify(self, asking: Asking, hosts: str | None = None, *, drift: bool = False) -> tuple[EchoResult, ...]:
        """Ask every AE that the limit means; with `drift` compare the hosts' files too."""
        reading = self.reading
        entities = self.entities(hosts)
        needs_hosts = asking.sources != ("controller",) or any(entity.verify.probe_from for entity in entities)
        connector = self.connector if needs_hosts and reading.inventory.hosts else None
        results = ask_entities(reading, self.context, entities, asking, connector)
        self.ledger.echoes(results)
        if drift and reading.inventory.hosts:
            self.drift(hosts)
        return results

    def verify_listed(self, targets: Sequence[EchoTarget], asking: Asking) -> tuple[EchoResult, ...]:
        """Ask these targets, without any inventory."""
        results = tuple(sweep(targets, asking.settings))
        self.ledger.echoes(results)
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
        planned = self._planned or self.plan(hosts)
        self.ledger.findings(audit_hosts(planned))
        if strangers:
            self.ledger.findings(audit_strangers(reading, self.entities(hosts)))

    def page(self) -> None:
        """The page for people: what history knows of this fleet, into the report's notices."""
        if self._history is not None:
            self.ledger.note(format_page(page_of(self._history, self.reading, self.context)))

    # Guards --------------------------------------------------------------------------------------------

    def _check_guards(self, reading: Reading, allowed: Permissions) -> None:
        """A half-empty inventory, or a host that vanished from it, is a slip until somebody says it is not."""
        before = self._history.last_applied() if self._history else None
        if before is None:
            return
        inventory = reading.inventory
        titles = frozenset(title for entity in inventory.entities for title in entity.titles)
        problems = check_removal(before.titles, before.hosts, titles, frozenset(inventory.hosts), allowed.allow_removal)
        if problems:
            raise InvalidInventory(tuple(problems))
