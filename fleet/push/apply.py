"""Carrying out the plan of one host: stage, check, switch, handlers, then look again. A host's fault is an
outcome, never an exception."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fleet.errors import FleetError, HostError, NetworkError
from fleet.events import HostPhase, ItemFinished, Observer, StageStarted, ignore
from fleet.inventory.model import Host
from fleet.plan.decide import make_host_plan
from fleet.plan.diff import describe_step
from fleet.plan.state import ObservedHost
from fleet.plan.steps import HostPlan, ReloadUnit, RestartUnit, StartUnit
from fleet.push.observe import make_failure, observe_host, run_threads
from fleet.push.outcome import HostOutcome, Outcome
from fleet.push.stage import make_stage_script, parse_stage_reply
from fleet.push.switch import make_switch_script, parse_switch_reply
from fleet.push.transport import Connector, Deadlines, Transport

_LOOK_EVERY_S = 0.5


class Clock(Protocol):
    """Monotonic time, and waiting for it to pass."""

    def monotonic_s(self) -> float:
        """Seconds since some moment."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


class SystemClock:
    """The real one."""

    def monotonic_s(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class ApplySettings:
    """`settle_s`: how long services may take to come up; `hold_s`: how long they must then stay up."""

    forks: int = 20
    deadlines: Deadlines = field(default_factory=Deadlines)
    hold_s: float = 1.0
    settle_s: float = 5.0
    clock: Clock = field(default_factory=SystemClock)


def apply_host(
    plan: HostPlan, transport: Transport, settings: ApplySettings | None = None, observer: Observer = ignore
) -> HostOutcome:
    """How the host ended; never raises for a fault of the host or of the way to it."""
    run = _Run(plan, transport, settings or ApplySettings(), observer)
    return judge_plan(plan) or run.stage() or run.switch() or run.look_again()


def judge_plan(plan: HostPlan) -> HostOutcome | None:
    """The outcome of a host that needs no connection: refused, or as desired already."""
    if plan.problems:
        return HostOutcome(plan.host, Outcome.REFUSED, "plan", "; ".join(each.message for each in plan.problems))
    return HostOutcome(plan.host, Outcome.UNCHANGED) if plan.is_empty else None


def apply_batch(
    plans: Sequence[tuple[Host, HostPlan]],
    connector: Connector,
    settings: ApplySettings | None = None,
    observer: Observer = ignore,
) -> tuple[HostOutcome, ...]:
    """All hosts of one batch, `forks` at a time, in the order given; one outcome each."""
    chosen = settings or ApplySettings()
    observer(StageStarted("apply", len(plans)))

    def apply(pair: tuple[Host, HostPlan]) -> HostOutcome:
        outcome = _connect_and_apply(pair[0], pair[1], connector, chosen, observer)
        observer(ItemFinished("apply", outcome.host, outcome.outcome, outcome.detail))
        return outcome

    return tuple(run_threads(apply, plans, chosen.forks))


def _connect_and_apply(
    host: Host, plan: HostPlan, connector: Connector, settings: ApplySettings, observer: Observer
) -> HostOutcome:
    settled = judge_plan(plan)
    if settled is not None:
        return settled
    observer(HostPhase(host.name, "connect"))
    try:
        transport = connector.open_(host, deadline_s=settings.deadlines.connect_s)
    except FleetError as error:
        return make_failure(host.name, error)
    try:
        return apply_host(plan, transport, settings, observer)
    finally:
        transport.close()


@dataclass(frozen=True, slots=True)
class _Run:
    """One host's way through its plan; each part gives an outcome when the way ends there."""

    plan: HostPlan
    transport: Transport
    settings: ApplySettings
    observer: Observer

    def stage(self) -> HostOutcome | None:
        self.observer(HostPhase(self.plan.host, "stage"))
        try:
            script = make_stage_script(self.plan)
            result = self.transport.run_script(script, deadline_s=self.settings.deadlines.stage_s)
            report = parse_stage_reply(self.plan, result)
        except FleetError as error:
            return _end(self.plan.host, error, "stage", "no live file was touched")
        if not report.phase:
            return None
        return HostOutcome(self.plan.host, Outcome.FAILED, report.phase, report.detail, 0, report.evidence)

    def switch(self) -> HostOutcome | None:
        self.observer(HostPhase(self.plan.host, "switch"))
        try:
            script = make_switch_script(self.plan)
            result = self.transport.run_script(script, deadline_s=self.settings.deadlines.switch_s)
            report = parse_switch_reply(self.plan, result)
        except FleetError as error:
            return _end(self.plan.host, error, "switch", "whether the switch happened is not known; plan again to see")
        if not report.phase:
            return None
        outcome = Outcome.STALE if report.stale else Outcome.FAILED
        return HostOutcome(self.plan.host, outcome, report.phase, report.detail, report.steps_done, report.evidence)

    def look_again(self) -> HostOutcome:
        """Converged is what a second look says, not what the steps returned."""
        self.observer(HostPhase(self.plan.host, "look-again"))
        total = len(self.plan.steps)
        try:
            left = self._settle()
            if not left and self.settings.hold_s > 0 and self._touched_units():
                self.settings.clock.sleep(self.settings.hold_s)
                left = self._look()
        except FleetError as error:
            return _end(self.plan.host, error, "look-again", "the files are in place", total)
        if left:
            detail = "the steps were done, but a second look finds: " + "; ".join(left[:5])
            return HostOutcome(self.plan.host, Outcome.FAILED, "look-again", detail, total)
        return HostOutcome(self.plan.host, Outcome.CONVERGED, steps_done=total)

    def _touched_units(self) -> bool:
        return any(isinstance(step, StartUnit | RestartUnit | ReloadUnit) for step in self.plan.steps)

    def _settle(self) -> list[str]:
        clock = self.settings.clock
        until = clock.monotonic_s() + self.settings.settle_s
        left = self._look()
        while left and self._touched_units() and clock.monotonic_s() < until:
            clock.sleep(_LOOK_EVERY_S)
            left = self._look()
        return left

    def _look(self) -> list[str]:
        rendered = self.plan.rendered
        observed = observe_host(rendered, self.transport, deadline_s=self.settings.deadlines.observe_s)
        again = make_host_plan(rendered, observed, adopt=True)
        found = [problem.message for problem in again.problems]
        found += [describe_step(step)[0] for step in again.steps]
        return found + self._list_silent(observed)

    def _list_silent(self, observed: ObservedHost) -> list[str]:
        """Services that are up for systemd but listen nowhere, or are kept up by restarts."""
        # A start by hand sets systemd's count of automatic restarts to zero: what is there came after us.
        begun = {step.unit for step in self.plan.steps if isinstance(step, StartUnit | RestartUnit)}
        ports = observed.facts.listening
        found = []
        for service in self.plan.rendered.services:
            seen = observed.services.get(service.unit)
            if service.port is not None and ports is not None and service.port not in ports:
                found.append(f"{service.unit} runs, but nothing listens on port {service.port}")
            if seen is not None and seen.automatic_restarts and service.unit in begun:
                found.append(f"{service.unit} keeps dying: systemd restarted it {seen.automatic_restarts} times")
        return found


def _end(host: str, error: FleetError, phase: str, fate: str, steps_done: int = 0) -> HostOutcome:
    """The outcome of an error in a phase, with what it means for the host."""
    lost = isinstance(error, NetworkError)
    told = error.phase if isinstance(error, HostError) else phase
    outcome = Outcome.UNREACHABLE if lost else Outcome.FAILED
    return HostOutcome(host, outcome, phase if lost else told, f"{error}; {fate}", steps_done)
