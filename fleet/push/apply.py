"""Carrying out the plan of one host: stage, check, switch, handlers, then look again, and confirm or go back. A
host's fault is an outcome, never an exception."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fleet.errors import FleetError
from fleet.events import HostPhase, ItemFinished, Observer, StageStarted, ignore
from fleet.inventory.model import Host
from fleet.plan.steps import HostPlan
from fleet.push.clock import SystemClock
from fleet.push.confirm import Renew, Trial
from fleet.push.lock import Lease, break_lock
from fleet.push.look import Look, make_end
from fleet.push.observe import make_failure, run_threads
from fleet.push.outcome import HostOutcome, Outcome
from fleet.push.pool import open_new
from fleet.push.settings import ApplySettings, Confirmation
from fleet.push.stage import StageReport, StageSettings, make_stage_script, parse_stage_reply
from fleet.push.switch import SwitchReport, SwitchSettings, make_switch_script, parse_switch_reply
from fleet.push.transport import Connector, Transport
from fleet.push.window import drain_seconds, needs_way_back

_WAIT_EVERY_S = 1.0
Hear = Callable[[Sequence[HostOutcome]], None]

__all__ = ["ApplySettings", "Confirmation", "SystemClock", "apply_batch", "apply_host", "judge_plan"]


def apply_host(
    plan: HostPlan,
    transport: Transport,
    settings: ApplySettings | None = None,
    observer: Observer = ignore,
    renew: Renew | None = None,
) -> HostOutcome:
    """How the host ended; never raises for a fault of the host or of the way to it.

    `renew` opens a connection that did not exist before; without it the same one has to do.
    """
    chosen = settings or ApplySettings()
    token = f"{chosen.claim.run_id}.{chosen.ids()}"
    run = _Run(plan, transport, chosen, observer, renew or (lambda: transport), token)
    return judge_plan(plan) or run.carry_out()


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
    hear: Hear | None = None,
) -> tuple[HostOutcome, ...]:
    """All hosts of one batch, `forks` at a time, in the order given; one outcome each, heard of as it comes."""
    chosen = settings or ApplySettings()
    observer(StageStarted("apply", len(plans)))

    def apply(pair: tuple[Host, HostPlan]) -> HostOutcome:
        def change() -> HostOutcome:
            return _connect_and_apply(pair[0], pair[1], connector, chosen, observer)

        outcome = judge_plan(pair[1]) or chosen.usher(pair[0], pair[1], change)
        observer(ItemFinished("apply", outcome.host, outcome.outcome, outcome.detail))
        return outcome

    return tuple(run_threads(apply, plans, chosen.forks, hear))


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
    renewed: list[Transport] = []

    def renew() -> Transport:
        while renewed:
            renewed.pop().close()
        renewed.append(open_new(connector, host, deadline_s=settings.deadlines.connect_s))
        return renewed[-1]

    try:
        return apply_host(plan, transport, settings, observer, renew)
    finally:
        for each in (transport, *renewed):
            each.close()


@dataclass(frozen=True, slots=True)
class _Run:
    """One host's way through its plan."""

    plan: HostPlan
    transport: Transport
    settings: ApplySettings
    observer: Observer
    renew: Renew
    token: str

    def carry_out(self) -> HostOutcome:
        confirmation = self.settings.confirmation
        wants_way = confirmation is not None and needs_way_back(self.plan)
        report, broken = self._stage_in_turn(way_back=wants_way)
        if isinstance(report, StageReport) and report.no_way_back and confirmation and confirmation.without_way_back:
            wants_way, report = False, self._stage(way_back=False)
        if isinstance(report, HostOutcome):
            return replace(report, broken_lock=broken)
        if report.phase:
            return replace(self._explain_stage(report), broken_lock=broken)
        done = self._try_out(confirmation) if confirmation and wants_way else self._switch_for_good(confirmation)
        return replace(done, broken_lock=broken)

    def _stage_in_turn(self, *, way_back: bool) -> tuple[StageReport | HostOutcome, str]:
        """Stage; where somebody holds the host, wait as long as we were told to, or take what a dead run left."""
        clock, broken = self.settings.clock, ""
        until = clock.monotonic_s() + self.settings.wait_s
        while True:
            report = self._stage(way_back=way_back)
            lease = report.lease if isinstance(report, StageReport) else None
            if lease is None:
                return report, broken
            is_dead = lease.run_id in self.settings.over and not lease.is_working and not broken
            if is_dead and self._take_over(lease):
                broken = f"{lease.owner} (run {lease.run_id}), which is over"
                continue
            if clock.monotonic_s() >= until:
                return report, broken
            self.observer(HostPhase(self.plan.host, "wait", f"for {lease.describe()}"))
            clock.sleep(_WAIT_EVERY_S)

    def _take_over(self, lease: Lease) -> bool:
        try:
            return break_lock(self.transport, lease.token, deadline_s=self.settings.deadlines.observe_s).broken
        except FleetError:
            return False

    def _stage(self, *, way_back: bool) -> StageReport | HostOutcome:
        self.observer(HostPhase(self.plan.host, "stage"))
        chosen = StageSettings(self.token, self.settings.claim.owner, way_back)
        try:
            script = make_stage_script(self.plan, chosen)
            result = self.transport.run_script(script, deadline_s=self.settings.deadlines.stage_s)
            return parse_stage_reply(self.plan, result)
        except FleetError as error:
            return make_end(self.plan.host, error, "stage", "no live file was touched")

    def _explain_stage(self, report: StageReport) -> HostOutcome:
        outcome = Outcome.FAILED
        if report.no_way_back:
            outcome = Outcome.REFUSED
        elif report.settled:
            outcome = Outcome.STALE
        elif report.phase == "lock":
            outcome = Outcome.LOCKED
        return HostOutcome(self.plan.host, outcome, report.phase, report.detail, 0, report.evidence)

    def _try_out(self, confirmation: Confirmation) -> HostOutcome:
        """Switch with a way back that only a confirmation puts away."""
        window_s = math.ceil(confirmation.within_s + drain_seconds(self.plan))
        until = self.settings.clock.monotonic_s() + window_s
        trial = Trial(self.plan, self.token, self.renew, self.settings, confirmation, self.observer, until)
        report = self._switch(SwitchSettings(self.token, self.settings.claim.owner, window_s))
        if isinstance(report, HostOutcome):
            return trial.undo(report)
        if not report.phase:
            return trial.confirm()
        outcome = self._explain_switch(report)
        return trial.undo(outcome) if report.armed else outcome

    def _switch_for_good(self, confirmation: Confirmation | None) -> HostOutcome:
        report = self._switch(SwitchSettings(self.token, self.settings.claim.owner))
        if isinstance(report, HostOutcome):
            return report
        if report.phase:
            return self._explain_switch(report)
        self.observer(HostPhase(self.plan.host, "look-again"))
        found = Look(self.plan, self.transport, self.settings).judge()
        if found.outcome is not Outcome.CONVERGED or confirmation is None:
            return found
        silent = confirmation.prove(self.plan.host)
        return replace(found, outcome=Outcome.FAILED, phase="echo", detail=silent) if silent else found

    def _switch(self, chosen: SwitchSettings) -> SwitchReport | HostOutcome:
        self.observer(HostPhase(self.plan.host, "switch"))
        deadline_s = self.settings.deadlines.switch_s + drain_seconds(self.plan)
        if chosen.window_s is not None:
            deadline_s = min(deadline_s, chosen.window_s)  # by then the host goes back: no answer is worth more
        try:
            result = self.transport.run_script(make_switch_script(self.plan, chosen), deadline_s=deadline_s)
            return parse_switch_reply(self.plan, result)
        except FleetError as error:
            fate = "whether the switch happened is not known"
            if chosen.window_s is None:
                fate += "; plan again to see"
            return make_end(self.plan.host, error, "switch", fate)

    def _explain_switch(self, report: SwitchReport) -> HostOutcome:
        outcome = Outcome.STALE if report.stale else Outcome.LOCKED if report.lost else Outcome.FAILED
        return HostOutcome(self.plan.host, outcome, report.phase, report.detail, report.steps_done, report.evidence)
