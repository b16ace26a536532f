"""Changes of many rows in pieces that end in time: arrivals wait for the end of each, not of all.

The rows are found without holding up anybody, and each is asked once more, inside its piece, whether the change still
holds for it. A crash between two pieces leaves the rest as it was: whoever asked for the change asks again.
"""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from fleet.relay.spool.queue import Bound, Spool

PIECE: Final = Bound(0.02)
BREATH_S: Final = 0.01
Hold = Callable[[], AbstractContextManager[Collection[int]]]


@dataclass(frozen=True, slots=True)
class Change:
    """`find` gives the keys of the rows; `update` takes `values`, then a key."""

    find: str
    find_values: Sequence[Any]
    update: str
    values: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a piece may take, and what lies between two of them."""

    bound: Bound = PIECE
    breathe: Callable[[float], None] = time.sleep


PACE: Final = Pace()


def change_in_pieces(
    spool: Spool, change: Change, pace: Pace = PACE, hold: Hold = lambda: nullcontext(())
) -> tuple[int, int]:
    """How many rows were changed, and how many were passed over because they are in somebody's hands (`hold`)."""
    keys = spool.read(change.find, change.find_values)
    at = done = left = 0
    while at < len(keys):
        if at:
            pace.breathe(BREATH_S)
        with hold() as in_hand, spool.change_all() as connection:
            ends_at = pace.bound.counted() + pace.bound.most_s
            while at < len(keys):
                key, at = keys[at], at + 1
                if key[0] in in_hand:
                    left += 1
                    continue
                done += connection.execute(change.update, (*change.values, *key)).rowcount
                if pace.bound.counted() > ends_at:
                    break
    return done, left
