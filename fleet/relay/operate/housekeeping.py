"""What a relay does beside receiving and sending, one step a second, in the daemon's thread.

It asks again about what waits for its hour or its study, hands studies to backups, mends what a clock that was set
back wrote down, looks for what leads nowhere, and forgets what is done. Every part of it is done in pieces or ends in
time: what arrives meanwhile waits for a moment.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fleet.relay.operate import ledger
from fleet.relay.operate.strays import settle_strays
from fleet.relay.route.decide import next_backup
from fleet.relay.rules import Rules
from fleet.relay.spool.queue import Spool
from fleet.relay.telling import Teller
from fleet.relay.values import Config

SELDOM: Final = 30  # steps between two looks at retention
_STEP_S: Final = 60.0  # less is a clock that is drawn to the right time
_ASK_S: Final = 2.0  # as long as one look at what has to be decided again may take; the next one goes on
_BREATH_S: Final = 0.01
_FORGET_S: Final = 2.0  # the same for what is done


@dataclass(frozen=True, slots=True)
class Household:
    """What it is done with: `rules` are those that hold now, `wake` says that something may have been queued."""

    spool: Spool
    tell: Teller
    rules: Callable[[], Rules]
    wake: Callable[[], None]
    seldom: int = SELDOM


class Housekeeping:
    """One relay's; `begin` before anything is taken, then `step`."""

    def __init__(self, household: Household) -> None:
        self._spool, self._tell = household.spool, household.tell
        self._rules, self._wake, self._seldom = household.rules, household.wake, household.seldom
        self.is_to_look = True  # for tasks that lead nowhere: after every change of what they could lead to
        self._ahead_s = time.time() - time.monotonic()
        self._steps = 0

    def begin(self) -> None:
        """What an earlier process left."""
        now = time.time()
        try:
            ledger.mend_times(self._spool, now)
            self._look_again(self._rules().config, now)
        except Exception as error:  # noqa: BLE001  a full disk must not keep from starting what delivers
            self._tell("housekeeping-failed", error=type(error).__name__)

    def foresee(self, config: Config) -> None:
        """A configuration is about to hold: before senders meet what has no route."""
        with suppress(Exception):  # a full disk; then the next step does, which tells it
            self._look_again(config, time.time())

    def step(self, now: float) -> None:
        """One step; raises what the disk raises."""
        self._steps += 1
        self._mind_the_clock(now, time.monotonic())
        if self.is_to_look:
            self._look_again(self._rules().config, now)
        self._ask_again(now)
        self._use_backups(now)
        if self._steps % self._seldom == 1:
            self.forget(now)

    def _look_again(self, config: Config, now: float) -> None:
        """What no route took, and what leads to a route or destination that is in the configuration no more."""
        self.is_to_look = False
        ledger.ask_again(self._spool)
        for stray in settle_strays(self._spool, config, now):
            self.is_to_look = self.is_to_look or stray.left > 0
            if stray.tasks:
                to = stray.destination or ""
                self._tell("stray", route=stray.route, destination=to, why=stray.reason, tasks=stray.tasks)

    def _ask_again(self, now: float) -> None:
        """What waits for its hour or its study, with a breath in between for what arrives just now."""
        ends_at = time.monotonic() + _ASK_S
        while self._spool.redecide(now, self._rules().decide):
            self._wake()
            if time.monotonic() > ends_at:
                return
            time.sleep(_BREATH_S)

    def _mind_the_clock(self, now: float, counted: float) -> None:
        ahead_s, self._ahead_s = self._ahead_s, now - counted
        if self._ahead_s < ahead_s - _STEP_S:
            self._tell("clock-set-back", seconds=round(ahead_s - self._ahead_s))
            ledger.mend_times(self._spool, now)
            self._wake()

    def _use_backups(self, now: float) -> None:
        for study, name, chosen, chosen_at, delivered_at in self._read_late(now):
            route = self._rules().config.route(name)
            if route is None:
                continue
            backup = next_backup(route, chosen, chosen_at, delivered_at, datetime.fromtimestamp(now, UTC))
            if backup is not None and backup != chosen:
                moved = ledger.move_study(self._spool, study, name, backup, now)
                self._tell(
                    "backup",
                    study=self._tell.hash_uid(study),
                    route=name,
                    destination=backup,
                    instead_of=chosen,
                    instances=moved,
                )
                self._wake()

    def _read_late(self, now: float) -> Iterator[ledger.LateChoice]:
        """The studies of each destination that has had its time, not those that may wait as long as they like."""
        for route in self._rules().config.routes:
            for target in route.primary:
                if target.backup_after_s is not None:
                    before = now - target.backup_after_s
                    yield from ledger.read_late_choices(self._spool, route.name, target.ae_title, before)

    def forget(self, now: float) -> None:
        """What is done goes when its time is over or there is too much of it; at once when room runs out."""
        retention = self._rules().config.retention
        before = now - retention.keep_s if self._spool.free_bytes() > 0 else now
        ends_at, forgotten = time.monotonic() + _FORGET_S, 0
        while time.monotonic() < ends_at:
            done = ledger.find_done(self._spool, before)
            if not done and retention.max_bytes is not None:
                done = ledger.find_surplus(self._spool, retention.max_bytes)
            if not done:
                break
            forgotten += self._spool.forget(done)
        if forgotten:
            self._tell("forgotten", instances=forgotten)
