"""What a sweep is told beside its targets, and what it takes from outside."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from fleet.verify.resolve import Lookup, lookup_system
from fleet.verify.values import EchoResult

OnResult = Callable[[EchoResult], None]


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """The brakes and habits of one sweep; a target's own limits are only ever tightened by them."""

    max_associations: int = 500
    max_associations_per_host: int | None = None
    pause_s: float = 0.0
    repeat: int = 1
    seed: int | None = None
    resolve_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the sweep takes from outside: clocks, the resolver, whether to stop."""

    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    lookup: Lookup = lookup_system
    stop: Callable[[], bool] | None = None
