"""render → plan → push: what would change, and the change itself, in batches under one budget.

One code path for `plan`, `apply --check` and `apply`: what was shown is what is done. Every host that was
meant has exactly one outcome in the end; a host that was never begun is `not_reached`, and says why.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from fleet.errors import EmptySelection, UsageError
from fleet.events import Event, HostPhase, ItemFinished, Notice, Observer, StageStarted
from fleet.inventory.model import Host, VirtualService
from fleet.plan.batches import FailureBudget, count_canaries, make_batches
from fleet.plan.conceal import Concealer
from fleet.plan.decide import make_host_plan
from fleet.plan.diff import escape_text
from fleet.plan.saved import HostPin, pin_host, pin_unread
from fleet.plan.steps import HostPlan, Plan
from fleet.push.apply import ApplySettings, Confirmation, Hear, apply_batch
from fleet.push.lock import Claim
from fleet.push.observe import HostReading, ObserveSettings, observe_fleet
from fleet.push.outcome import HostOutcome, Outcome
from fleet.push.pool import prepare
from fleet.push.transport import Connector
from fleet.render.artifacts import RenderedHost
from fleet.workflow.asking import prove_members
from fleet.workflow.budgeting import Purse, not_begun
from fleet.workflow.context import Context
from fleet.workflow.draining import Draining, DrainSettings
from fleet.workflow.holding import Held
from fleet.workflow.reading import Reading
from fleet.workflow.rendering import render_hosts

Prove = Callable[[Sequence[Host]], Mapping[str, str]]
"""Asks the AEs of hosts and returns, for each host where one does not answer, why."""


INTERRUPTED = "interrupted"
_PROVE_S = 15.0  # VRRP and a balancer's checks need some seconds to find each other


@dataclass(frozen=True, slots=True)
class Batching:
    """How many hosts together, how many failures end it, and how long services are watched.

    What is not confirmed within `confirm_within_s` undoes itself (None: nothing has to be confirmed);
    `no_way_back` changes hosts that cannot. `canaries` (so many hosts, or a selector) are changed and proven
    before any other, and one failure among them ends the run whatever the budget. `drain_timeout_s` is how long
    associations of a member that is taken out of its virtual service may end (None: it is changed in service).
    For a host that somebody else has locked `wait_s` is waited.
    """

    serial: int | str | None = None
    budget: FailureBudget = field(default_factory=FailureBudget)
    hold_s: float = 1.0
    confirm_within_s: float | None = 120.0
    no_way_back: bool = False
    canaries: int | str | None = None
    drain_timeout_s: float | None = 60.0
    wait_s: float = 0.0

    def describe(self) -> Iterator[str]:
        """What was allowed beyond the ordinary, for the record."""
        if self.no_way_back:
            yield "allowed: hosts that cannot undo a change are changed all the same (--no-way-back)"
        if self.confirm_within_s is None:
            yield "allowed: what is changed stays without a new login and a C-ECHO (--no-confirm)"
        if self.drain_timeout_s is None:
            yield "allowed: members are changed without taking them out of their virtual services (--no-drain)"


def check_window(hold_s: float, within_s: float) -> None:
    """A window that ends before the services were watched undoes every change; raises UsageError."""
    if within_s < hold_s + 5:
        raise UsageError(
            f"what is not confirmed within {within_s:g} s undoes itself, but services are watched for {hold_s:g} s "
            "before: every change would be undone; leave at least 5 s more than the hold-down"
        )


@dataclass(frozen=True, slots=True)
class Work:
    """What a change needs at hand: the inventory, the run's parameters, the way to the hosts, the proof."""

    reading: Reading
    context: Context
    connector: Connector
    prove: Prove | None = None
    record: Callable[[Sequence[HostOutcome]], None] | None = None  # hears of each host when it has ended
    note: Callable[[str], None] | None = None  # hears what whoever reads the report has to know
    touch: Callable[[Sequence[str]], None] | None = None  # hears of each batch before it is begun
    over: frozenset[str] = frozenset()  # runs that are known to be over


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan of all hosts that could be read, what was read, and the outcomes of those that could not."""

    hosts: tuple[Host, ...]
    rendered: Mapping[str, RenderedHost]
    readings: tuple[HostReading, ...]
    plan: Plan
    failures: tuple[HostOutcome, ...]
    pins: tuple[HostPin, ...] = ()

    @property
    def by_host(self) -> Mapping[str, HostPlan]:
        """The plan of each host."""
        return {plan.host: plan for plan in self.plan.hosts}

    @property
    def shown(self) -> Plan:
        """What people are shown: nothing of a host that moved on, where nothing will be done."""
        stale = {outcome.host for outcome in self.failures if outcome.outcome is Outcome.STALE}
        return replace(self.plan, hosts=tuple(plan for plan in self.plan.hosts if plan.host not in stale))

    @property
    def pending(self) -> tuple[HostPlan, ...]:
        """The plans that would change something."""
        failed = {outcome.host for outcome in self.failures}
        return tuple(plan for plan in self.plan.hosts if plan.steps and plan.host not in failed)


def plan_hosts(
    reading: Reading,
    context: Context,
    hosts: Sequence[Host],
    connector: Connector,
    *,
    adopt: bool = False,
    held: Held | None = None,
    concealer: Concealer | None = None,
) -> Planned:
    """What would have to change on `hosts`; changes nothing. What is no longer as a plan found it, is stale.

    With a `concealer` what was read is pinned, so that the plan can be kept.
    """
    rendered = render_hosts(reading, context, [host.name for host in hosts], partial(prepare, connector))
    if held is not None:
        held.check_rendered(rendered.values())
    pairs = [(host, rendered[host.name]) for host in hosts]
    settings = ObserveSettings(forks=context.forks)
    readings = observe_fleet(pairs, connector, settings, context.observer)
    plans, failures, pins = [], [], []
    for (host, wanted), read in zip(pairs, readings, strict=True):
        if read.observed is None:
            failures.append(read.failure or HostOutcome(host.name, Outcome.FAILED, "observe", "nothing was read"))
            pins += [pin_unread(wanted, concealer)] if concealer else []
            continue
        plan = make_host_plan(wanted, read.observed, adopt=adopt)
        plans.append(plan)
        pins += [pin_host(plan, read.observed, concealer)] if concealer else []
        failure = held.judge(plan, read.observed) if held else None
        failure = failure or (refusal(plan) if plan.problems else None)
        if failure is not None:
            failures.append(failure)
    made = Plan(tuple(plans), reading.inventory.digest)
    return Planned(tuple(hosts), rendered, readings, made, tuple(failures), tuple(pins))


def refusal(plan: HostPlan) -> HostOutcome:
    """The outcome of a host on which nothing may be written."""
    detail = "; ".join(problem.message for problem in plan.problems)
    return HostOutcome(plan.host, Outcome.REFUSED, "plan", detail)


def unapplied(planned: Planned, pending: Outcome = Outcome.PENDING) -> tuple[HostOutcome, ...]:
    """The outcomes of a run that only looked: pending, unchanged, or why it could not be read."""
    failed = {outcome.host: outcome for outcome in planned.failures}
    plans = planned.by_host
    outcomes = []
    for host in planned.hosts:
        if host.name in failed:
            outcomes.append(failed[host.name])
            continue
        plan = plans[host.name]
        steps = len(plan.steps)
        detail = "" if plan.is_empty or not steps else f"{steps} step{'' if steps == 1 else 's'} would be taken"
        outcomes.append(HostOutcome(host.name, Outcome.UNCHANGED if plan.is_empty else pending, "plan", detail))
    return tuple(outcomes)


def apply_planned(work: Work, planned: Planned, batching: Batching) -> tuple[HostOutcome, ...]:
    """Carry out a plan, a batch at a time, until it is done or the budget is spent.

    Failures of reading and refusals count before the first write: with a budget of none, one host that lacks
    a program means that nothing is written anywhere. A host whose partner failed is not begun under any
    budget: it may be the last that serves (T36).
    """
    outcomes = {outcome.host: outcome for outcome in planned.failures}
    plans = planned.by_host
    for host in planned.hosts:
        if host.name not in outcomes and plans[host.name].is_empty:
            outcomes[host.name] = HostOutcome(host.name, Outcome.UNCHANGED, "plan", "")
    _record(work, outcomes.values())
    waiting = [host for host in planned.hosts if host.name not in outcomes]
    order = [host.name for host in backups_first(work.reading, waiting)]
    groups = partners(work.reading)
    canaries = find_canaries(work.reading, planned.hosts, order, batching.canaries)
    batches = make_batches(order, batching.serial, groups, canaries)
    purse = Purse(batching.budget, canaries, len(planned.hosts))
    purse.count(outcomes.values())
    by_name = {host.name: host for host in planned.hosts}
    draining = _draining(work) if batching.drain_timeout_s is not None else None
    settings = _settings(work, by_name, batching, draining)
    settings = replace(settings, usher=purse.around(settings.usher))
    observer = work.context.observer
    observer(StageStarted("apply", len(order)))
    for number, batch in enumerate(batches, start=1):
        if purse.why_spent():
            break
        if canaries and number == 1:
            first = ", ".join(sorted(canaries.intersection(order))) or "as desired already, so nobody goes first"
            observer(Notice(f"canaries first: {first}"))
        spared = {name: why for name in batch if (why := _failed_partner(name, purse.failed, groups))}
        hosts = [by_name[name] for name in batch if name not in spared]
        observer(Notice(f"batch {number} of {len(batches)}: {', '.join(host.name for host in hosts) or 'nobody'}"))
        done = [not_begun(name, why) for name, why in spared.items()]

        def hear(ended: Sequence[HostOutcome]) -> None:
            outcomes.update((outcome.host, outcome) for outcome in ended)
            purse.count(ended)
            _tell(observer, ended)
            _record(work, ended)

        hear(done)
        begun: set[str] = set()
        try:
            ended = _apply_one_batch(work, [(host, plans[host.name]) for host in hosts], settings, hear, begun)
            hear([outcome for outcome in ended if outcome.host not in outcomes])
        except KeyboardInterrupt:
            _record(work, [_interrupted(name, begun) for name in order if name not in outcomes])
            raise
        while draining is not None and draining.notes and work.note is not None:
            work.note(draining.notes.pop(0))
    left = [not_begun(name, purse.why_spent()) for name in order if name not in outcomes]
    _record(work, left)
    outcomes |= {outcome.host: outcome for outcome in left}
    return tuple(outcomes[host.name] for host in planned.hosts)


def _settings(work: Work, hosts: Mapping[str, Host], batching: Batching, draining: Draining | None) -> ApplySettings:
    """How each host of the run is changed: under whose name, how it is proven, and how it leaves its services."""
    settings = ApplySettings(
        forks=work.context.forks,
        hold_s=batching.hold_s,
        claim=Claim(f"{work.context.who} at {work.context.where}", work.context.run_id),
        confirmation=_confirmation(work, hosts, batching),
        over=work.over,
        wait_s=batching.wait_s,
    )
    if draining is None:
        return settings
    return replace(settings, usher=draining.around(_drain_settings(batching), work.context.run_id))


def _confirmation(work: Work, hosts: Mapping[str, Host], batching: Batching) -> Confirmation | None:
    """A host is proven by its AEs; a host on which none can be asked by the second look alone (W5)."""
    if batching.confirm_within_s is None:
        return None

    def prove(name: str) -> str:
        return work.prove([hosts[name]]).get(name, "") if work.prove is not None else ""

    # Who wants services watched wants them waited for too: addresses move, and servers start.
    prove_s = _PROVE_S if batching.hold_s > 0 else 0.0
    return Confirmation(batching.confirm_within_s, prove, prove_s, batching.no_way_back)


def _draining(work: Work) -> Draining:
    reading, context = work.reading, work.context

    def ask(service: VirtualService, names: Sequence[str]) -> Mapping[str, str]:
        return prove_members(reading, context, service, names, work.connector)

    return Draining(reading.inventory, work.connector, ask, context.observer)


def _drain_settings(batching: Batching) -> DrainSettings:
    return DrainSettings(batching.drain_timeout_s or 0.0, batching.confirm_within_s or 120.0)


def _record(work: Work, outcomes: Iterable[HostOutcome]) -> None:
    found = tuple(outcomes)
    if work.record is not None and found:
        work.record(found)


def _failed_partner(name: str, failed: Sequence[str], groups: Sequence[frozenset[str]]) -> str:
    """Why a host must be left alone: a host that serves together with it has failed; empty where none has."""
    broken = [each for each in failed if each != name and any({name, each} <= group for group in groups)]
    return f"its partner {', '.join(broken)} failed, and this one may be the last that serves" if broken else ""


def find_canaries(
    reading: Reading, hosts: Sequence[Host], order: Sequence[str], wanted: int | str | None
) -> frozenset[str]:
    """The hosts that go first. A selector that means none of this run's hosts is an error: nobody would be proven."""
    if wanted is None:
        return frozenset()
    number = count_canaries(wanted)
    if number is not None:
        return frozenset(order[:number])
    meant = {host.name for host in reading.hosts(str(wanted))}
    found = frozenset(host.name for host in hosts if host.name in meant)
    if not found:
        raise EmptySelection(
            f"canaries {wanted!r}: none of this run's hosts is meant, so nothing would be proven first"
        )
    return found


def _tell(observer: Observer, ended: Sequence[HostOutcome]) -> None:
    for outcome in ended:
        observer(ItemFinished("apply", outcome.host, outcome.outcome.value, outcome.detail))
        if outcome.evidence:  # what programs on the host printed: for a terminal's eyes, never recorded
            observer(Notice(f"{outcome.host} said: {escape_text(outcome.evidence)}"))


def _apply_one_batch(
    work: Work, pairs: Sequence[tuple[Host, HostPlan]], settings: ApplySettings, hear: Hear, begun: set[str]
) -> Sequence[HostOutcome]:
    """Every host of a batch to its end, also when somebody asks to stop meanwhile: then nothing new is begun."""
    if not pairs:
        return ()
    if work.touch is not None:
        work.touch([host.name for host, _ in pairs])
    return apply_batch(pairs, work.connector, settings, _phases_only(work.context.observer, begun), hear)


def _interrupted(name: str, begun: Collection[str]) -> HostOutcome:
    """A host that has no ending because somebody did not want to wait for it, or because its turn never came."""
    if name in begun:
        text = "interrupted while it was being changed: what was not confirmed undoes itself"
        return HostOutcome(name, Outcome.FAILED, INTERRUPTED, text)
    return not_begun(name, "the run was interrupted")


def _phases_only(observer: Observer, begun: set[str]) -> Observer:
    """A batch's own stage is a part of the run's, and a host has ended only when it was proven."""

    def hear(event: Event, /) -> None:
        if isinstance(event, HostPhase):
            begun.add(event.host)
        if not isinstance(event, StageStarted | ItemFinished):
            observer(event)

    return hear


def partners(reading: Reading) -> list[frozenset[str]]:
    """Hosts that must never be changed together: redundancy groups and the members of virtual services."""
    groups: dict[str, set[str]] = {}
    for host in reading.inventory.hosts.values():
        if host.redundancy_group:
            groups.setdefault(f"group {host.redundancy_group}", set()).add(host.name)
    for service in reading.inventory.virtual_services:
        entity = reading.inventory.find_entity(service.entity)
        if entity is not None:
            groups.setdefault(f"service {service.name}", set()).update(each.host for each in entity.instances)
    return [frozenset(members) for members in groups.values()]


def backups_first(reading: Reading, hosts: Iterable[Host]) -> list[Host]:
    """The hosts in their order, but of a pair the one with the lower VRRP priority first (T36)."""
    priority: dict[str, int] = {}
    for service in reading.inventory.virtual_services:
        for name, value in (service.vrrp.priority if service.vrrp else {}).items():
            priority[name] = max(value, priority.get(name, 0))
    return sorted(hosts, key=lambda host: priority.get(host.name, 0))
