"""What a destination's answer means, and when to try again (T63). Pure: no clock, no dice of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_ATTEMPTS: Final = 10
FIRST_PAUSE_S: Final = 15.0
LONGEST_PAUSE_S: Final = 1800.0
OPEN_AFTER: Final = 3
FIRST_PROBE_S: Final = 5.0
LONGEST_PROBE_S: Final = 120.0


class Meaning(StrEnum):
    """What to do with the instance."""

    DELIVERED = "delivered"
    NOTED = "delivered, with a warning"
    LATER = "the destination has no room; all of its queue later"
    AGAIN = "this instance again, later"
    REFUSED = "refused for what it is; a person has to look"


def read_status(status: int) -> Meaning:
    """A C-STORE-RSP status (PS3.4 table B.2-1, PS3.7 annex C)."""
    if status == 0:
        return Meaning.DELIVERED
    if status >> 12 == 0xB or status in {0x0001, 0x0107, 0x0111, 0x0116}:  # 0111: it has that instance already
        return Meaning.NOTED
    if status >> 8 == 0xA7:
        return Meaning.LATER
    if status >> 8 == 0xA9 or status >> 12 == 0xC or status in {0x0117, 0x0122}:
        return Meaning.REFUSED
    return Meaning.AGAIN  # not authorized, processing failure, whatever else: perhaps not for ever


def make_pause_s(attempts: int, dice: Callable[[], float]) -> float:
    """Growing pauses; `dice` gives 0 to 1, so that what failed together does not come back together."""
    return float(min(FIRST_PAUSE_S * 2 ** min(attempts, 20), LONGEST_PAUSE_S) * (0.5 + dice()))


@dataclass(slots=True)
class Circuit:
    """Whether a destination is worth an association; times are monotonic seconds."""

    failures: int = 0
    probe_at: float = 0.0
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Open means: nothing flows, only C-ECHO is tried."""
        return self.failures >= OPEN_AFTER

    def record_failure(self, now: float, reason: str, dice: Callable[[], float]) -> None:
        """An association failed as such."""
        self.failures += 1
        self.reason = reason
        pause_s = min(FIRST_PROBE_S * 2 ** min(self.failures - 1, 20), LONGEST_PROBE_S)
        self.probe_at = now + pause_s * (0.5 + dice())

    def record_success(self) -> None:
        """The destination took part in a dialogue."""
        self.failures, self.probe_at, self.reason = 0, 0.0, ""
