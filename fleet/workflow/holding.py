"""A plan that was made before is held against the hosts as they are now: what moved on is left alone.

Whether it comes from a file that somebody reviewed or from a run that was cut off, it is carried out by the code that
carries out any plan; here is only what makes a host `stale`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.errors import PlanStale
from fleet.plan.conceal import Concealer
from fleet.plan.saved import HostPin, SavedPlan, digest_rendered, digest_steps, find_moved, find_strange
from fleet.plan.state import ObservedHost
from fleet.plan.steps import HostPlan
from fleet.push.outcome import HostOutcome, Outcome
from fleet.render.artifacts import RenderedHost

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Held:
    """A plan, and which of its hosts are meant now.

    `begun` are hosts that a run which was cut off had begun to change: there what it was about to write is no
    surprise. `resumed` is that run; without it the plan comes from a file, and is used up.
    """

    saved: SavedPlan
    concealer: Concealer
    hosts: frozenset[str]
    begun: frozenset[str] = frozenset()
    resumed: str | None = None

    def check_rendered(self, rendered: Iterable[RenderedHost]) -> None:
        """Raise `PlanStale` where the same inventory renders to something else, as another version of fleet may."""
        pins = self.saved.pins
        others = [each.host for each in rendered if digest_rendered(each, self.concealer) != pins[each.host].rendered]
        if others:
            names = ", ".join(others[:_SHOWN])
            raise PlanStale(
                f"for {names} the same inventory renders to other files than when the plan was made (another version of"
                " fleet?); nothing was contacted. Make a new plan"
            )

    def judge(self, plan: HostPlan, observed: ObservedHost) -> HostOutcome | None:
        """Why nothing may be done on this host; None where all is as it was when the plan was made."""
        pin = self.saved.pins[plan.host]
        if plan.host in self.begun:
            return _stale(plan.host, find_strange(pin, plan, observed, self.concealer))
        if pin.observed is None:
            return _unseen(pin)
        moved = find_moved(pin, observed, self.concealer)
        if not moved and digest_steps(plan.steps, self.concealer) != pin.steps:
            moved = ("this fleet would do something else there than the one that made the plan",)
        return _stale(plan.host, moved)


def _stale(host: str, moved: tuple[str, ...]) -> HostOutcome | None:
    if not moved:
        return None
    more = f", and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
    detail = f"it moved on since the plan was made: {'; '.join(moved[:_SHOWN])}{more}; nothing was written, plan again"
    return HostOutcome(host, Outcome.STALE, "plan", detail)


def _unseen(pin: HostPin) -> HostOutcome:
    detail = "it could not be read when the plan was made, so nobody saw what would be done there; plan again"
    return HostOutcome(pin.host, Outcome.REFUSED, "plan", detail)
