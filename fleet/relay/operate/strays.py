"""Tasks that lead to a route or destination which no configuration has any more: they never wait in silence.

They are asked about again, like what waits for its hour. What no route takes instead is `unrouted`, with the reason,
and is asked about again after every change of the configuration: when its destination comes back, so does the task.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from fleet.relay.spool.pieces import PACE, Change, Pace, change_in_pieces
from fleet.relay.spool.queue import Spool
from fleet.relay.spool.records import GONE
from fleet.relay.values import Config

_OPEN: Final = "state IN ('queued', 'uncommitted', 'hold', 'wait')"


@dataclass(frozen=True, slots=True)
class Stray:
    """Tasks of one kind that lead nowhere; `left` of them are on their way just now and are looked at again."""

    route: str
    destination: str | None
    role: str
    reason: str
    tasks: int = 0
    left: int = 0


def settle_strays(spool: Spool, config: Config, now: float, pace: Pace = PACE) -> list[Stray]:
    """Have all of them decided anew; returns what was found."""
    return [_settle(spool, stray, now, pace) for stray in _find(spool, config)]


def count_unrouted(spool: Spool) -> list[dict[str, Any]]:
    """What leads nowhere, by route and reason."""
    rows = spool.read("SELECT route, reason, count(*) FROM tasks WHERE state = 'unrouted' GROUP BY route, reason")
    return [dict(zip(("route", "why", "tasks"), row, strict=True)) for row in rows]


def _find(spool: Spool, config: Config) -> Iterator[Stray]:
    for route, destination, role in spool.read(
        "SELECT DISTINCT route, destination, role FROM tasks WHERE state IN ('queued', 'uncommitted', 'hold', 'wait')"
        " AND reason NOT LIKE ?",
        ("%" + GONE,),
    ):
        if route and config.route(route) is None:
            yield Stray(route, destination, role, f"its route {route} {GONE}")
        elif destination is not None and destination not in config.destinations:
            yield Stray(route, destination, role, f"its destination {destination} {GONE}")


def _settle(spool: Spool, stray: Stray, now: float, pace: Pace) -> Stray:
    where = f"{_OPEN} AND route = ? AND destination IS ? AND role = ? AND reason != ?"
    which = (stray.route, stray.destination, stray.role, stray.reason)
    change = Change(
        f"SELECT id FROM tasks WHERE {where}",  # noqa: S608
        which,
        "UPDATE tasks SET state = 'hold', next_at = 0, destination = NULL, attempts = 0, reason = ?, changed_at = ?"  # noqa: S608
        f" WHERE {where} AND id = ?",
        (stray.reason, now, *which),
    )
    done, left = change_in_pieces(spool, change, pace, lambda: spool.hands.closed(stray.destination or ""))
    return replace(stray, tasks=done, left=left)
