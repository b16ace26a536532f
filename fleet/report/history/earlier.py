"""How each target ended when it was last asked: a walk back over the sweeps, since a sweep may have been narrowed.

Answered results carry no index (they are what there is most of), so the walk is bounded by the rows that it looks
through; a target that nobody asked within them is a new one.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

from fleet.report.compare import Earlier, Target, target_of
from fleet.report.history import tables
from fleet.report.summary import EchoLine

MAX_ROWS: Final = 2_000_000

Read = Callable[[str, Sequence[Any]], list[Any]]

_SPANS: Final = (
    "SELECT r.run_id, s.first_row, s.last_row FROM sweeps s JOIN runs r ON r.number = s.run "
    "WHERE is_mine(r.fleet) AND r.run_id != ? ORDER BY s.run DESC, s.first_row DESC"
)
_ALL: Final = f"SELECT {tables.ECHO_COLUMNS} FROM echo_results WHERE row BETWEEN ? AND ? ORDER BY row"  # noqa: S608
_OF_TITLES: Final = _ALL.replace(" ORDER", " AND ae_title IN (SELECT value FROM json_each(?)) ORDER")


def find_earlier(read: Read, run_id: str, wanted: Collection[Target]) -> Earlier:
    """The last results of the wanted targets before this run, skipped ones aside, and who was asked beside them.

    Beside them: in the newest sweep, and in those that these results are of. What an older one asked was told then.
    """
    missing, lines, runs = set(wanted), list[EchoLine](), dict[str, None]()
    beside: dict[Target, EchoLine] = {}
    newest, left = None, MAX_ROWS
    for run, first, last in read(_SPANS, (run_id,)):
        newest = newest or run
        if left <= 0 or not (missing or run == newest):
            break
        left -= last - first + 1
        found = [line for line in _read_titles(read, (first, last), missing) if target_of(line) in missing]
        missing.difference_update(map(target_of, found))
        lines += found
        if found or run == newest:
            runs[run] = None
            for line in map(EchoLine.from_columns, read(_ALL, (first, last))):
                if target_of(line) not in wanted:
                    beside.setdefault(target_of(line), line)
    return Earlier(tuple(runs), tuple(lines), tuple(beside.values()))


def _read_titles(read: Read, span: tuple[int, int], targets: Collection[Target]) -> Iterator[EchoLine]:
    """Those of a span that bear a title of these targets, and were asked."""
    titles = json.dumps(sorted({str(title) for title, *_ in targets}))
    lines = map(EchoLine.from_columns, read(_OF_TITLES, (*span, titles)))
    return (line for line in lines if not line.is_skipped)
