"""How a change is carried out: how many at once, how long each part may take, and what has to be proven."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.inventory.model import Host
from fleet.plan.steps import HostPlan
from fleet.push.clock import Clock, SystemClock
from fleet.push.lock import Claim
from fleet.push.outcome import HostOutcome
from fleet.push.transport import Deadlines


def make_nonce() -> str:
    """Tells two attempts of one run on one host apart."""
    return secrets.token_hex(4)


def prove_nothing(_host: str) -> str:
    """For hosts on which nothing answers: a second look is all."""
    return ""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What has to be shown before a change stays.

    `within_s`: after so long without it, counted by the host from its switch on, the host undoes the change by
    itself. `prove` gets a host's name and says why it is not proven, or nothing; it is asked again for
    `prove_s`, since addresses move and servers start. `without_way_back` lets hosts be changed that cannot
    undo anything.
    """

    within_s: float = 120.0
    prove: Callable[[str], str] = prove_nothing
    prove_s: float = 15.0
    without_way_back: bool = False


Usher = Callable[[Host, HostPlan, Callable[[], HostOutcome]], HostOutcome]
"""Goes round the change of one host, which it calls: what happens before and after it, on this host and others."""


def go_straight(_host: Host, _plan: HostPlan, change: Callable[[], HostOutcome]) -> HostOutcome:
    """Nothing has to happen before or after."""
    return change()


@dataclass(frozen=True, slots=True)
class ApplySettings:
    """`settle_s`: how long services may take to come up; `hold_s`: how long they must then stay up.

    Without a `confirmation` nothing has to be confirmed, and nothing undoes itself. `over` are runs that are known
    to be over: a lease that one of them left behind is taken at once. For any other lease `wait_s` is waited.
    """

    forks: int = 20
    deadlines: Deadlines = field(default_factory=Deadlines)
    hold_s: float = 1.0
    settle_s: float = 5.0
    clock: Clock = field(default_factory=SystemClock)
    claim: Claim = field(default_factory=Claim)
    confirmation: Confirmation | None = None
    over: frozenset[str] = frozenset()
    wait_s: float = 0.0
    ids: Callable[[], str] = make_nonce
    usher: Usher = go_straight
