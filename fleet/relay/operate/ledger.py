"""What operators ask of the queue and change in it; every answer is a value that goes into JSON as it is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fleet.errors import UsageError
from fleet.relay.forward.outcome import LONGEST_PAUSE_S
from fleet.relay.spool.pieces import PACE, Change, Pace, change_in_pieces
from fleet.relay.spool.queue import Spool

MAX_ROWS: Final = 1000
_LONGEST_PAUSE_S: Final = 2 * LONGEST_PAUSE_S
Answer = dict[str, Any]


def read_queues(spool: Spool, now: float) -> list[Answer]:
    """One row for each destination that something is queued for."""
    rows = spool.read(
        "SELECT destination, count(*), min(changed_at) FROM tasks WHERE state = 'queued' GROUP BY destination"
    )
    return [{"destination": name, "queued": number, "oldest_s": max(now - oldest, 0)} for name, number, oldest in rows]


def count_states(spool: Spool) -> dict[str, int]:
    """How many tasks are in each state that is not an end."""
    rows = spool.read(
        "SELECT state, count(*) FROM tasks WHERE state NOT IN ('delivered', 'skipped', 'dropped') GROUP BY state"
    )
    return {"queued": 0, "hold": 0, "wait": 0, "uncommitted": 0, "quarantined": 0, "unrouted": 0, **dict(rows)}


def read_callers(spool: Spool) -> list[Answer]:
    """When each calling title last stored something: the life sign of devices that do not listen."""
    rows = spool.read("SELECT calling, last_at, instances FROM callers ORDER BY calling")
    return [{"calling": calling, "last_at": last_at, "instances": number} for calling, last_at, number in rows]


def read_paused(spool: Spool) -> list[str]:
    """The destinations that an operator paused."""
    return [row[0] for row in spool.read("SELECT destination FROM paused ORDER BY destination")]


def list_tasks(spool: Spool, states: Sequence[str], limit: int = MAX_ROWS) -> list[Answer]:
    """Tasks by state, oldest first."""
    marks = ", ".join("?" * len(states))
    rows = spool.read(
        "SELECT t.id, i.spool_id, t.route, t.destination, t.role, t.state, t.attempts, t.reason, i.calling,"  # noqa: S608
        " i.received_at, i.study_instance_uid, i.sop_instance_uid, i.conflict FROM tasks t"
        f" JOIN instances i ON i.id = t.instance WHERE t.state IN ({marks}) ORDER BY t.id LIMIT ?",
        (*states, limit),
    )
    names = (
        "task", "spool_id", "route", "destination", "role", "state", "attempts", "reason", "calling", "received_at",
        "study", "instance", "conflict",
    )  # fmt: skip
    return [dict(zip(names, row, strict=True)) for row in rows]


def retry(spool: Spool, destination: str | None, pace: Pace = PACE) -> int:
    """What pauses after a failure is tried now."""
    pauses = "state IN ('queued', 'uncommitted') AND next_at > 0"
    where, values = ("", ()) if destination is None else (" AND destination = ?", (destination,))
    find = f"SELECT id FROM tasks WHERE {pauses}{where}"  # noqa: S608
    update = f"UPDATE tasks SET next_at = 0 WHERE {pauses}{where} AND id = ?"  # noqa: S608
    return change_in_pieces(spool, Change(find, values, update, values), pace)[0]


def release(spool: Spool, task: int, now: float) -> int:
    """Out of quarantine, into the queue; every step of its route is done again."""
    return spool.change(
        "UPDATE tasks SET state = 'queued', next_at = 0, attempts = 0, changed_at = ?"
        " WHERE id = ? AND state = 'quarantined' AND destination IS NOT NULL",
        (now, task),
    )


def drop(spool: Spool, task: int, now: float) -> int:
    """Give up a quarantined task; its instance is kept as long as a delivered one."""
    return spool.change(
        "UPDATE tasks SET state = 'dropped', changed_at = ? WHERE id = ?"
        " AND state IN ('quarantined', 'unrouted', 'uncommitted')",
        (now, task),
    )


def pause(spool: Spool, destination: str, now: float) -> int:
    """Send nothing there until it is resumed, over restarts too."""
    return spool.change("INSERT OR IGNORE INTO paused VALUES (?, ?)", (destination, now))


def resume(spool: Spool, destination: str) -> int:
    """Send there again."""
    return spool.change("DELETE FROM paused WHERE destination = ?", (destination,))


@dataclass(frozen=True, slots=True)
class Resend:
    """A study, and where to: a destination that stands in `routes`, or None for all that had it."""

    study: str
    destination: str | None = None
    routes: tuple[str, ...] = ()


def resend(spool: Spool, wanted: Resend, now: float) -> int:
    """Queue a study again: to all that had it, or to one destination of its routes, which need not have had it."""
    study, destination = wanted.study, wanted.destination
    where = "" if destination is None else " AND destination = ?"
    values: tuple[Any, ...] = (now, study) if destination is None else (now, study, destination)
    with spool.change_all() as connection:
        changed = connection.execute(
            "UPDATE tasks SET state = 'queued', next_at = 0, attempts = 0, changed_at = ? WHERE study_instance_uid = ?"  # noqa: S608
            f" AND state IN ('delivered', 'uncommitted', 'quarantined') AND destination IS NOT NULL{where}",
            values,
        ).rowcount
        for route in wanted.routes:
            changed += connection.execute(
                "INSERT INTO tasks"
                " (instance, study_instance_uid, route, destination, role, state, next_at, changed_at, lane)"
                " SELECT instance, study_instance_uid, route, ?1, 'resent', 'queued', 0, ?2, min(lane) FROM tasks t"
                " WHERE study_instance_uid = ?3 AND route = ?4 AND state IN"
                " ('delivered', 'uncommitted', 'quarantined', 'queued') AND NOT EXISTS (SELECT 1 FROM tasks o"
                "  WHERE o.instance = t.instance AND o.route = ?4 AND o.destination = ?1)"
                " GROUP BY instance",
                (destination, now, study, route),
            ).rowcount
    if not changed:
        to = f" for {destination}" if destination else ""
        raise UsageError(f"the spool holds nothing of study {study} that was delivered{to}; it may be forgotten by now")
    return changed


def mend_times(spool: Spool, now: float, pace: Pace = PACE) -> None:
    """After the clock was set back: what was put off by the wrong one is not put off for years (T71).

    What waits for an hour is asked again; a pause after a failure never was as long as it seems now.
    """
    waits, paused = "state IN ('hold', 'wait')", "(state = 'uncommitted' OR (state = 'queued' AND attempts > 0))"
    study = ("study_instance_uid", "route")
    for table, key, what, where, value, latest in (
        ("tasks", ("id",), "next_at", waits, 0.0, now),
        ("tasks", ("id",), "next_at", paused, 0.0, now + _LONGEST_PAUSE_S),
        ("choices", study, "chosen_at", "1", now, now),
        ("choices", study, "delivered_at", "1", now, now),
        ("tasks", ("id",), "changed_at", "1", now, now),
    ):
        which = " AND ".join(f"{each} = ?" for each in key)
        find = f"SELECT {', '.join(key)} FROM {table} WHERE {where} AND {what} > ?"  # noqa: S608
        update = f"UPDATE {table} SET {what} = ? WHERE {where} AND {what} > ? AND {which}"  # noqa: S608
        change_in_pieces(spool, Change(find, (latest,), update, (value, latest)), pace)


def move_study(spool: Spool, study: str, route: str, chosen: str, now: float) -> int:
    """A backup takes over a whole study: what is queued moves, what was delivered elsewhere goes there as well.

    So does what is on its way to the old one just now, whose answer nobody knows: there it ends with that answer.
    What is still on its way to the chosen one, from when it had the study before, stays on that way, and is not sent
    there a second time.
    """
    old = spool.read("SELECT destination FROM choices WHERE study_instance_uid = ? AND route = ?", (study, route))
    # Asked before the transaction begins: whoever has left that hand by now has noted the answer, which it carries.
    under_way = spool.hands.under_way(chosen)
    with spool.hands.closed("".join(row[0] for row in old)) as in_hand, spool.change_all() as connection:
        back = [
            task
            for task in under_way
            if connection.execute(
                "UPDATE tasks SET state = 'queued', reason = '', next_at = 0, changed_at = ? WHERE id = ?"
                " AND study_instance_uid = ? AND route = ? AND role = 'primary' AND state = 'skipped'"
                " AND destination = ?",
                (now, task, study, route, chosen),
            ).rowcount
        ]
        sent = [
            task
            for task in in_hand
            if connection.execute(
                "UPDATE tasks SET state = 'skipped', reason = ?, changed_at = ? WHERE id = ? AND study_instance_uid = ?"
                " AND route = ? AND role = 'primary' AND state = 'queued' AND destination != ?",
                (f"{chosen} took it over while it was on its way", now, task, study, route, chosen),
            ).rowcount
        ]
        connection.execute(
            "INSERT INTO tasks"
            " (instance, study_instance_uid, route, destination, role, state, next_at, changed_at, lane)"
            " SELECT instance, study_instance_uid, route, ?, role, 'queued', 0, ?, lane FROM tasks"
            " WHERE study_instance_uid = ? AND route = ? AND role = 'primary'"
            " AND (state IN ('delivered', 'uncommitted') OR id IN (SELECT value FROM json_each(?)))"
            " AND destination != ? AND instance NOT IN (SELECT instance FROM tasks"
            "  WHERE study_instance_uid = ? AND route = ? AND destination = ? AND state != 'skipped')",
            (chosen, now, study, route, json.dumps(sent), chosen, study, route, chosen),
        )
        connection.execute(  # it had the study before and gave it up: what it took then it is not given again
            "UPDATE tasks SET state = 'skipped', reason = ?, changed_at = ? WHERE study_instance_uid = ? AND route = ?"
            " AND role = 'primary' AND state = 'queued' AND destination != ? AND instance IN (SELECT instance"
            "  FROM tasks WHERE study_instance_uid = ? AND route = ? AND destination = ?"
            "  AND (state IN ('delivered', 'uncommitted') OR id IN (SELECT value FROM json_each(?))))",
            (f"{chosen} has it already", now, study, route, chosen, study, route, chosen, json.dumps(back)),
        )
        moved = connection.execute(
            "UPDATE tasks SET destination = ?, next_at = 0, attempts = 0 WHERE study_instance_uid = ? AND route = ?"
            " AND role = 'primary' AND state = 'queued'",
            (chosen, study, route),
        ).rowcount
        connection.execute(
            "UPDATE choices SET destination = ?, chosen_at = ?, delivered_at = NULL"
            " WHERE study_instance_uid = ? AND route = ?",
            (chosen, now, study, route),
        )
        return int(moved)


LateChoice = tuple[str, str, str, float, float | None]


def read_late_choices(spool: Spool, route: str, destination: str, before: float) -> list[LateChoice]:
    """Study, route, destination, chosen and last delivery of studies that wait for a destination since a time."""
    rows = spool.read(
        "SELECT c.study_instance_uid, c.route, c.destination, c.chosen_at, c.delivered_at FROM choices c WHERE EXISTS"
        " (SELECT 1 FROM tasks t WHERE t.study_instance_uid = c.study_instance_uid AND t.route = c.route"
        "  AND t.destination = c.destination AND t.role = 'primary' AND t.state = 'queued')"
        " AND c.route = ? AND c.destination = ? AND max(c.chosen_at, coalesce(c.delivered_at, c.chosen_at)) <= ?"
        " LIMIT 1000",
        (route, destination, before),
    )
    return [tuple(row) for row in rows]


def find_done(spool: Spool, before: float, limit: int = 500) -> list[str]:
    """Instances of which nothing is left to do, oldest first, whose last task ended before a time."""
    rows = spool.read(
        "SELECT i.spool_id FROM instances i WHERE NOT EXISTS (SELECT 1 FROM tasks t WHERE t.instance = i.id"
        " AND (t.state NOT IN ('delivered', 'skipped', 'dropped') OR t.changed_at > ?)) ORDER BY i.id LIMIT ?",
        (before, limit),
    )
    return [row[0] for row in rows]


def find_surplus(spool: Spool, max_bytes: int, limit: int = 500) -> list[str]:
    """Done instances, oldest first, as many as have to go until the spool holds no more than so much."""
    surplus = read_kept(spool)["bytes"] - max_bytes
    if surplus <= 0:
        return []
    found = []
    for name, size_bytes in spool.read(
        "SELECT i.spool_id, i.size_bytes FROM instances i WHERE NOT EXISTS (SELECT 1 FROM tasks t"
        " WHERE t.instance = i.id AND t.state NOT IN ('delivered', 'skipped', 'dropped')) ORDER BY i.id LIMIT ?",
        (limit,),
    ):
        if surplus <= 0:
            break
        found.append(name)
        surplus -= size_bytes
    return found


def read_kept(spool: Spool) -> dict[str, int]:
    """What lies in the spool, delivered or not."""
    [(instances, size_bytes)] = spool.read("SELECT count(*), coalesce(sum(size_bytes), 0) FROM instances")
    return {"instances": instances, "bytes": size_bytes}


def ask_again(spool: Spool, pace: Pace = PACE) -> int:
    """After a change of the configuration, what no route took is asked about again."""
    find = "SELECT id FROM tasks WHERE state = 'unrouted'"
    update = "UPDATE tasks SET state = 'hold', next_at = 0 WHERE state = 'unrouted' AND id = ?"
    return change_in_pieces(spool, Change(find, (), update), pace)[0]
