"""How long each target usually takes to answer: the median of its answers in the sweeps before."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

MOST_SWEEPS: Final = 10
FEWEST_ANSWERS: Final = 3  # fewer are no habit

Target = tuple[Any, ...]
Read = Callable[[str, Sequence[Any]], list[Any]]

_SPANS: Final = (
    "SELECT first_row, last_row FROM sweeps WHERE run IN (SELECT DISTINCT run FROM sweeps JOIN runs ON number = run "
    "WHERE is_mine(fleet) ORDER BY run DESC LIMIT ?)"
)
_ANSWERED: Final = (
    "SELECT ae_title, address, port, calling, source, elapsed_s FROM echo_results "
    "WHERE row BETWEEN ? AND ? AND outcome = 'answered' AND elapsed_s IS NOT NULL"
)


def find_habits(read: Read) -> Mapping[Target, float]:
    """The usual seconds of each target (title, address, port, calling, asker) over the last sweeps."""
    taken: dict[Target, list[float]] = defaultdict(list)
    for span in read(_SPANS, (MOST_SWEEPS,)):
        for *target, elapsed_s in read(_ANSWERED, span):
            taken[tuple(target)].append(elapsed_s)
    from statistics import median  # loads fractions and decimal: only who has earlier sweeps pays

    return {target: median(times) for target, times in taken.items() if len(times) >= FEWEST_ANSWERS}
