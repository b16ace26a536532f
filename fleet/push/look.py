"""The second look: what a host holds after a change is read from it again, not taken from what the steps said."""

from dataclasses import dataclass

from fleet.errors import FleetError, HostError, NetworkError
from fleet.plan.decide import make_host_plan
from fleet.plan.diff import describe_step
from fleet.plan.state import FileKind, ObservedFile, ObservedHost
from fleet.plan.steps import HostPlan, ReloadUnit, RemoveFile, RestartUnit, StartUnit, WriteFile
from fleet.push.observe import observe_host
from fleet.push.outcome import HostOutcome, Outcome
from fleet.push.settings import ApplySettings
from fleet.push.transport import Transport

_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Look:
    """Looks at one host over one connection, as long as its services may take to settle and have to hold."""

    plan: HostPlan
    transport: Transport
    settings: ApplySettings
    fate: str = "the files are in place"  # told where it cannot look; nothing where they will be put back

    def judge(self) -> HostOutcome:
        """Converged, or what a second look finds; never raises for a fault of the host."""
        total = len(self.plan.steps)
        try:
            left, before = self._settle()
            if not left and self.settings.hold_s > 0 and self._touched_units():
                self.settings.clock.sleep(self.settings.hold_s)
                left, after = self._look()
                left += self._list_revived(before, after)
        except FleetError as error:
            return make_end(self.plan.host, error, "look-again", self.fate, total)
        if left:
            detail = "the steps were done, but a second look finds: " + "; ".join(left[:5])
            return HostOutcome(self.plan.host, Outcome.FAILED, "look-again", detail, total)
        return HostOutcome(self.plan.host, Outcome.CONVERGED, steps_done=total)

    def find_not_back(self) -> list[str]:
        """After a way back: the files that are not as the plan found them; raises FleetError."""
        deadline_s = self.settings.deadlines.observe_s
        observed = observe_host(self.plan.rendered, self.transport, deadline_s=deadline_s)
        changed = [step for step in self.plan.steps if isinstance(step, WriteFile | RemoveFile)]
        return [step.path for step in changed if not _is_back(step, observed)]

    def _touched_units(self) -> bool:
        return any(isinstance(step, StartUnit | RestartUnit | ReloadUnit) for step in self.plan.steps)

    def _settle(self) -> tuple[list[str], ObservedHost]:
        """What is still not as it should be, and the first look at it."""
        clock = self.settings.clock
        until = clock.monotonic_s() + self.settings.settle_s
        left, first = self._look()
        while left and self._touched_units() and clock.monotonic_s() < until:
            clock.sleep(_LOOK_EVERY_S)
            left, _ = self._look()
        return left, first

    def _look(self) -> tuple[list[str], ObservedHost]:
        rendered = self.plan.rendered
        observed = observe_host(rendered, self.transport, deadline_s=self.settings.deadlines.observe_s)
        again = make_host_plan(rendered, observed, adopt=True)
        found = [problem.message for problem in again.problems]
        found += [describe_step(step)[0] for step in again.steps]
        return found + self._list_silent(observed), observed

    def _list_revived(self, before: ObservedHost, after: ObservedHost) -> list[str]:
        """Services that died while they were watched, and were brought back by systemd: a reload does not set its
        count to zero, so only the difference tells."""
        reloaded = sorted({step.unit for step in self.plan.steps if isinstance(step, ReloadUnit)})
        seen = [(unit, before.services.get(unit), after.services.get(unit)) for unit in reloaded]
        return [
            f"{unit} died after its reload: systemd restarted it while it was watched"
            for unit, then, now in seen
            if then is not None and now is not None and now.automatic_restarts > then.automatic_restarts
        ]

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


def _is_back(step: WriteFile | RemoveFile, observed: ObservedHost) -> bool:
    seen, before = observed.files.get(step.path, ObservedFile(step.path)), step.before
    if before is None:
        return seen.kind is FileKind.ABSENT
    same_owner = before.owner is None or seen.owner == before.owner
    return (seen.kind, seen.digest, seen.mode) == (FileKind.FILE, before.digest, before.mode) and same_owner


def make_end(host: str, error: FleetError, phase: str, fate: str, steps_done: int = 0) -> HostOutcome:
    """The outcome of an error in a phase, with what it means for the host."""
    lost = isinstance(error, NetworkError)
    told = error.phase if isinstance(error, HostError) else phase
    outcome = Outcome.UNREACHABLE if lost else Outcome.FAILED
    return HostOutcome(host, outcome, phase if lost else told, f"{error}; {fate}" if fate else str(error), steps_done)
