"""Confirm or revert: a change stays only when it was looked at, and its AEs answered, over a connection that was
made after it. Everything else ends with the host as it was: because fleet asks for it, or by the host's own hand.

Both sides count durations only. The window begins on the host after it begins here, so whoever is in doubt here
is in doubt too early, never too late.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from fleet.errors import FleetError
from fleet.events import HostPhase, Observer
from fleet.plan.steps import HostPlan
from fleet.push.look import Look
from fleet.push.outcome import HostOutcome, Outcome
from fleet.push.settings import ApplySettings, Confirmation
from fleet.push.transport import Transport
from fleet.push.window import (
    Window,
    WindowReport,
    drain_seconds,
    make_confirm_script,
    make_revert_script,
    parse_window_reply,
)

_EVERY_S = 0.5
_PUT_BACK_S = 60.0  # how long a host may take to put everything back, beside what its services drain

Renew = Callable[[], Transport]
"""A connection that did not exist before; raises FleetError."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A change that stands until `until` (by our clock) unless it is confirmed."""

    plan: HostPlan
    token: str
    renew: Renew
    settings: ApplySettings
    confirmation: Confirmation
    observer: Observer
    until: float

    def confirm(self) -> HostOutcome:
        """Look and ask over a new connection, and only then tell the host that the change stays."""
        self.observer(HostPhase(self.plan.host, "confirm"))
        transport = self._connect_in_time()
        if isinstance(transport, HostOutcome):
            return self.undo(transport)
        self.observer(HostPhase(self.plan.host, "look-again"))
        found = Look(self.plan, transport, self.settings, fate="").judge()
        if found.outcome is not Outcome.CONVERGED:
            return self.undo(found)
        silent = self._prove(self.until)
        if silent:
            return self.undo(replace(found, outcome=Outcome.FAILED, phase="echo", detail=silent))
        return self._disarm(transport, found)

    def undo(self, why: HostOutcome) -> HostOutcome:
        """Let the host go back now, wait until it says that it has, and look."""
        self.observer(HostPhase(self.plan.host, "put-back"))
        clock = self.settings.clock
        give_up = max(clock.monotonic_s(), self.until) + _PUT_BACK_S + drain_seconds(self.plan)
        last = "it has not said that it is done"
        while clock.monotonic_s() < give_up:
            try:
                transport = self.renew()
                while (report := self._ask(transport)).window in {Window.ARMED, Window.REVERTING, Window.CONFIRM}:
                    if clock.monotonic_s() >= give_up:
                        break
                    clock.sleep(_EVERY_S)
                return self._judge_back(transport, why, report)
            except FleetError as error:
                last = str(error)
            clock.sleep(_EVERY_S)
        return self._not_back(why, f"whether the host has put everything back is not known: {last}")

    def _ask(self, transport: Transport) -> WindowReport:
        script = make_revert_script(self.token)
        return parse_window_reply(transport.run_script(script, deadline_s=self.settings.deadlines.observe_s))

    def _connect_in_time(self) -> Transport | HostOutcome:
        clock = self.settings.clock
        while True:
            try:
                return self.renew()
            except FleetError as error:
                if clock.monotonic_s() >= self.until:
                    detail = f"after the change no new connection could be made: {error}"
                    return HostOutcome(self.plan.host, Outcome.UNREACHABLE, "confirm", detail)
            clock.sleep(_EVERY_S)

    def _prove(self, until: float) -> str:
        """Why it is not proven, after everybody had time to come up; nothing when it is."""
        clock = self.settings.clock
        last = min(until, clock.monotonic_s() + self.confirmation.prove_s)
        while why := self.confirmation.prove(self.plan.host):
            if clock.monotonic_s() >= last:
                return why
            clock.sleep(_EVERY_S)
        return ""

    def _disarm(self, transport: Transport, found: HostOutcome) -> HostOutcome:
        """Tell the host; an answer that is lost is asked for again while the window lasts."""
        clock = self.settings.clock
        was_sent, why = False, f"it was not confirmed within {self.confirmation.within_s:g} s"
        while clock.monotonic_s() < self.until:
            try:
                result = transport.run_script(
                    make_confirm_script(self.token), deadline_s=self.settings.deadlines.observe_s
                )
                report = parse_window_reply(result)
            except FleetError as error:
                was_sent, why = True, f"it could not be confirmed: {error}"
                renewed = self._connect_in_time()
                if isinstance(renewed, HostOutcome):
                    return self.undo(renewed)
                transport = renewed
                continue
            # A confirmation that came through although its answer did not leaves nothing to confirm.
            if report.window in {Window.CONFIRMED, Window.CONFIRM} or (was_sent and report.window is Window.NONE):
                return found
            break
        return self.undo(replace(found, outcome=Outcome.FAILED, phase="confirm", detail=why))

    def _judge_back(self, transport: Transport, why: HostOutcome, report: WindowReport) -> HostOutcome:
        if report.window is Window.NONE:
            return replace(why, detail=f"{why.detail}; the host has nothing of this run to undo: plan again to see")
        left = Look(self.plan, transport, self.settings).find_not_back()
        files = f"not as before: {', '.join(left[:5])}" if left else "the files are as before"
        if report.window is not Window.REVERTED:
            said = report.detail or report.window
            return self._not_back(why, f"the host could not put everything back: {said}; {files}")
        if left:
            return self._not_back(why, files)
        silent = self._prove(self.settings.clock.monotonic_s() + self.confirmation.prove_s) if self._served() else ""
        if silent:
            return self._not_back(why, f"the files are as before, but {silent}")
        detail = f"{why.detail}; it was not confirmed, and the host is as it was before"
        if report.detail:  # looked at again: nothing but the handler's own failure is left
            detail += f", where this handler fails too: {report.detail}"
        return replace(why, outcome=Outcome.ROLLED_BACK, detail=detail, steps_done=0)

    def _served(self) -> bool:
        """Whether everything that should answer was in service before this change, so that it must be again."""
        services = {service.unit for service in self.plan.rendered.services}
        return services <= set(self.plan.before.units)

    def _not_back(self, why: HostOutcome, text: str) -> HostOutcome:
        detail = f"{why.detail}; {text}; look at the host now"
        return replace(why, outcome=Outcome.ROLLBACK_FAILED, detail=detail, steps_done=0)
