"""What fails since when: walks back over recorded sweeps until every failing target was once seen as desired.

Answered results carry no index (they are what there is most of), so each sweep is read through once, the
database filtering; the walk ends with the last open streak.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from fleet.report.records import FailingSince

MAX_SPANS: Final = 400

Read = Callable[[str, Sequence[Any]], list[Any]]
_Key = tuple[Any, ...]

_SPANS: Final = (
    "SELECT s.run, r.run_id, r.started_at, s.first_row, s.last_row FROM sweeps s "
    "JOIN runs r ON r.number = s.run WHERE is_mine(r.fleet) ORDER BY s.run DESC, s.first_row LIMIT ?"
)
_FAILING: Final = (
    "SELECT ae_title, address, port, calling, source, outcome, detail FROM echo_results "
    "WHERE as_desired = 0 AND row BETWEEN ? AND ? ORDER BY row"
)
_ASKED: Final = (
    "SELECT ae_title, address, port, calling, source, as_desired FROM echo_results WHERE row BETWEEN ? AND ? "
    "AND ae_title IN (SELECT value FROM json_each(?)) AND outcome NOT LIKE 'skipped%'"
)


def find_streaks(read: Read) -> tuple[FailingSince, ...]:
    """The targets that the last sweep found not as desired, with the first run of each unbroken streak.

    A sweep that did not ask a target, or skipped it, neither ends nor lengthens its streak.
    """
    spans = read(_SPANS, (MAX_SPANS,))
    newest = spans[0][0] if spans else None
    found: dict[_Key, FailingSince] = {}
    for run, run_id, started_at, first, last in spans:
        if run == newest:
            for row in read(_FAILING, (first, last)):
                found[tuple(row[:5])] = FailingSince(row[0], row[1], row[2], row[5], row[6], run_id, started_at, 1)
    running = set(found)
    for run, run_id, started_at, first, last in spans:
        if run != newest and running:
            _step_back(read, (first, last), found, running, (run_id, started_at))
    return tuple(found.values())


def _step_back(
    read: Read,
    span: tuple[int, int],
    found: dict[_Key, FailingSince],
    running: set[_Key],
    run: tuple[str, str],
) -> None:
    titles = json.dumps(sorted({key[0] for key in running}))
    for *columns, as_desired in read(_ASKED, (*span, titles)):
        key = tuple(columns)
        if key in running and as_desired:
            running.discard(key)
        elif key in running:
            since = found[key]
            found[key] = replace(since, since_run_id=run[0], since_at=run[1], sweeps=since.sweeps + 1)
