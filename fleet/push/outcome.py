"""How a host ended: a closed set, so that outcomes always add up to the hosts that were planned."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """One word a host."""

    UNCHANGED = "unchanged"  # nothing to do
    CONVERGED = "converged"  # changed, looked at again, and as desired
    PENDING = "pending"  # would change; only looked at (`plan`, `apply --check`)
    REFUSED = "refused"  # a problem of its plan stands: nothing was written
    STALE = "stale"  # a file moved on since the plan was made: nothing was written
    LOCKED = "locked"  # somebody else is at work on the host: nothing was written
    FAILED = "failed"  # reached, and could not be brought to what was rendered
    ROLLED_BACK = "rolled_back"  # changed, not confirmed, and as it was before: looked at again
    ROLLBACK_FAILED = "rollback_failed"  # changed, not confirmed, and not known to be as it was before
    UNREACHABLE = "unreachable"  # could not be logged in to, or the connection broke
    NOT_REACHED = "not_reached"  # the run stopped before its turn

    @property
    def is_failure(self) -> bool:
        """Whether it counts against the failure budget."""
        return self in _FAILURES


_FAILURES = frozenset(
    {
        Outcome.REFUSED,
        Outcome.STALE,
        Outcome.LOCKED,
        Outcome.FAILED,
        Outcome.ROLLED_BACK,
        Outcome.ROLLBACK_FAILED,
        Outcome.UNREACHABLE,
    }
)


@dataclass(frozen=True, slots=True)
class HostOutcome:
    """One host's ending.

    `phase` is where it ended (connect, handshake, host_key, login, session, observe, plan, lock, stage, check,
    switch, handler, look-again, echo, confirm; empty when all is well), `steps_done` how many steps of the plan
    are known to be done. `evidence` is what programs on the host printed: it may hold secrets (keepalived prints
    lines of what it includes), so it is for the terminal of whoever applies, never for a log or the history.
    `broken_lock` says whose lease was taken from him to get there.
    """

    host: str
    outcome: Outcome
    phase: str = ""
    detail: str = ""
    steps_done: int = 0
    evidence: str = ""
    broken_lock: str = ""
