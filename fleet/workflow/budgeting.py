"""The run's one budget of failures, while hosts end in several threads: once it is spent, no new host starts.

A batch may hold more hosts than are worked on at once, so it is asked before each host, not before each batch alone.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from fleet.inventory.model import Host
from fleet.plan.batches import FailureBudget
from fleet.plan.steps import HostPlan
from fleet.push.outcome import HostOutcome, Outcome
from fleet.push.settings import Usher


class Purse:
    """What is left of a budget over so many `hosts`; a canary that failed spends all of it. Safe for threads."""

    def __init__(self, budget: FailureBudget, canaries: Collection[str], hosts: int) -> None:
        self._budget = budget
        self._canaries = frozenset(canaries)
        self._hosts = hosts
        self._failed: set[str] = set()
        self._lock = threading.Lock()

    def count(self, outcomes: Iterable[HostOutcome]) -> None:
        """These hosts have ended so; one that is counted twice counts once."""
        with self._lock:
            self._failed.update(each.host for each in outcomes if each.outcome.is_failure)

    @property
    def failed(self) -> Sequence[str]:
        """The hosts that failed until now, sorted."""
        with self._lock:
            return sorted(self._failed)

    def why_spent(self) -> str:
        """Why no new host starts; empty while one may."""
        failed = self.failed
        if dead := [name for name in failed if name in self._canaries]:
            return f"the canary {', '.join(dead)} failed, and hosts after a canary that failed are never begun"
        if not self._budget.is_spent(len(failed), self._hosts):
            return ""
        names = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" if len(failed) > 3 else "")
        return f"{names} failed before its turn, and the budget of failures was spent"

    def around(self, usher: Usher) -> Usher:
        """Asks before each host, and counts how it ended."""

        def go(host: Host, plan: HostPlan, change: Callable[[], HostOutcome]) -> HostOutcome:
            if why := self.why_spent():
                return not_begun(host.name, why)
            outcome = usher(host, plan, change)
            self.count([outcome])
            return outcome

        return go


def not_begun(name: str, why: str) -> HostOutcome:
    """The outcome of a host whose turn never came."""
    return HostOutcome(name, Outcome.NOT_REACHED, "batch", f"not begun: {why}")
