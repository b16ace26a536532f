"""What is written into the queue's tables: instances, the tasks that follow from decisions, what destinations took.

Every function here runs inside a transaction of `queue`, which says when and how durably it is committed.
"""

import json
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fleet.relay.spool.files import Folder
from fleet.relay.spool.marks import Mark
from fleet.relay.spool.twins import TWIN, Pair, asks_nothing, find_had, heal, is_had, take_up_dropped
from fleet.relay.values import Decision, ReceivedInstance, Role, StudyFacts

GONE: Final = "is not in the configuration any more"
LANES: Final = 4  # associations with one destination at most; a study stays in one, so that series keep their order
INSTANCE_COLUMNS: Final = (
    "spool_id, calling, called, sop_class_uid, sop_instance_uid, study_instance_uid, modality, transfer_syntax_uid,"
    " received_at, elements"
)
QUALIFIED_COLUMNS: Final = INSTANCE_COLUMNS.replace("study_instance_uid", "i.study_instance_uid")


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of the spool that is on disk under its final name, and what is to be recorded of it."""

    instance: ReceivedInstance
    size_bytes: int
    data_set_offset: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Task:
    """One instance on its way to one destination."""

    task_id: int
    instance: ReceivedInstance
    route: str
    destination: str
    role: str
    attempts: int
    size_bytes: int
    data_set_offset: int
    sha256: str
    generation: int = 0  # of what its destination's senders took (`hands`)


Decide = Callable[[ReceivedInstance, StudyFacts], Sequence[Decision]]


def make_instance(folder: Folder, columns: Sequence[Any]) -> ReceivedInstance:
    """An instance from `INSTANCE_COLUMNS`."""
    return ReceivedInstance(columns[0], folder.path(columns[0]), *columns[1:9], json.loads(columns[9]))  # type: ignore[call-arg]


def apply_marks(connection: sqlite3.Connection, marks: Sequence[Mark]) -> None:
    """Carry into the queue what destinations took, and the number up to which it has that."""
    for mark in marks:
        mark_delivered(connection, mark)
    if marks:
        connection.execute("INSERT OR REPLACE INTO about VALUES ('marks', ?)", (str(marks[-1].number),))


def mark_delivered(connection: sqlite3.Connection, mark: Mark) -> None:
    """Only if it is still for that destination."""
    connection.execute(
        "UPDATE tasks SET state = ?, reason = ?, changed_at = ?, next_at = 0, transaction_uid = NULL, sent_class = ?,"
        " sent_uid = ? WHERE id = ? AND destination = ?",
        (
            "uncommitted" if mark.sent_uid else "delivered", mark.note, mark.at, mark.sent_class, mark.sent_uid,
            mark.task_id, mark.destination,
        ),
    )  # fmt: skip
    connection.execute(
        "UPDATE choices SET delivered_at = ? WHERE destination = ? AND (study_instance_uid, route) ="
        " (SELECT study_instance_uid, route FROM tasks WHERE id = ?)",
        (mark.at, mark.destination, mark.task_id),
    )


def add_one(connection: sqlite3.Connection, stored: Stored, decide: Decide, folder: Folder) -> bool:
    """Record an instance and where it goes; False where its bytes lie here and its file is not needed."""
    instance = stored.instance
    twins = connection.execute(
        "SELECT id, spool_id, sha256, calling, called FROM instances WHERE sop_instance_uid = ? AND NOT forgetting",
        (instance.sop_instance_uid,),
    ).fetchall()
    _note_caller(connection, instance)
    same = [row for row in twins if row[2] == stored.sha256]
    size_bytes = stored.size_bytes
    healed = next((row[0] for row in same if heal(connection, instance.spool_id, (*row[:2], size_bytes), folder)), None)
    if any((row[3], row[4]) == (instance.calling, instance.called) for row in same):
        take_up_dropped(connection, instance, stored.sha256)
        return bool(healed)
    _note_study(connection, instance)
    decisions = decide(instance, _study_facts(connection, instance))
    had = find_had(connection, instance.sop_instance_uid, stored.sha256) if same else frozenset()
    if same and asks_nothing(decisions, had):
        return bool(healed)
    identity = healed or _insert(connection, stored, len(twins) > len(same))
    _queue(connection, Queued(identity, instance, had), decisions, instance.received_at)
    # What waits for something that this study has may have been waiting for this instance.
    connection.execute(
        "UPDATE tasks SET next_at = 0 WHERE state = 'wait' AND study_instance_uid = ? AND instance != ?",
        (instance.study_instance_uid, identity),
    )
    return True


def _insert(connection: sqlite3.Connection, stored: Stored, is_in_conflict: bool) -> int:
    instance = stored.instance
    cursor = connection.execute(
        f"INSERT INTO instances ({INSTANCE_COLUMNS}, size_bytes, data_set_offset, sha256, conflict)"  # noqa: S608
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            instance.spool_id, instance.calling, instance.called, instance.sop_class_uid, instance.sop_instance_uid,
            instance.study_instance_uid, instance.modality, instance.transfer_syntax_uid, instance.received_at,
            json.dumps(dict(instance.elements)), stored.size_bytes, stored.data_set_offset, stored.sha256,
            is_in_conflict,
        ),
    )  # fmt: skip
    return cursor.lastrowid or 0


def _note_caller(connection: sqlite3.Connection, instance: ReceivedInstance) -> None:
    connection.execute(
        "INSERT INTO callers VALUES (?, ?, 1) ON CONFLICT (calling) DO UPDATE SET"
        " last_at = max(last_at, excluded.last_at), instances = instances + 1",
        (instance.calling, instance.received_at),
    )


def _note_study(connection: sqlite3.Connection, instance: ReceivedInstance) -> None:
    study = instance.study_instance_uid
    connection.execute("INSERT OR IGNORE INTO studies VALUES (?, ?)", (study, instance.received_at))
    connection.executemany(
        "INSERT OR IGNORE INTO study_values VALUES (?, ?, ?)",
        ((study, keyword, value) for keyword, value in instance.elements.items()),
    )


def _study_facts(connection: sqlite3.Connection, instance: ReceivedInstance) -> StudyFacts:
    study = (instance.study_instance_uid,)
    first = connection.execute("SELECT first_received_at FROM studies WHERE study_instance_uid = ?", study).fetchone()
    seen: dict[str, frozenset[str]] = {}
    for keyword, value in connection.execute(
        "SELECT keyword, value FROM study_values WHERE study_instance_uid = ?", study
    ):
        seen[keyword] = seen.get(keyword, frozenset()) | {value}
    rows = connection.execute("SELECT route, destination FROM choices WHERE study_instance_uid = ?", study)
    return StudyFacts(first[0] if first else instance.received_at, seen, dict(rows.fetchall()))


_STATES: Final[Mapping[str, str]] = {"send": "queued", "hold": "hold", "wait": "wait", "skip": "skipped"}


@dataclass(frozen=True, slots=True)
class Queued:
    """An instance that tasks are made for, and where its bytes go already."""

    identity: int
    instance: ReceivedInstance
    had: frozenset[Pair] = frozenset()


def _queue(connection: sqlite3.Connection, queued: Queued, decisions: Sequence[Decision], now: float) -> None:
    if not decisions:  # kept and listed, never dropped: a person has to see that no route takes it
        decisions = (Decision("", "hold", until=float("inf")),)
    for decision in decisions:
        state, reason = _STATES[decision.action], ""
        if not decision.route:
            state, reason = "unrouted", "no route takes it"
        elif is_had(decision, queued.had):
            state, reason = "skipped", TWIN
        _insert_task(connection, queued, decision, (state, reason, now))
        if decision.action == "send" and decision.role == "primary":
            # Kept for as long as its route has that destination; only then is another one decided.
            connection.execute(
                "INSERT INTO choices VALUES (?, ?, ?, ?, NULL) ON CONFLICT (study_instance_uid, route) DO UPDATE SET"
                " destination = excluded.destination, chosen_at = excluded.chosen_at, delivered_at = NULL"
                " WHERE destination != excluded.destination",
                (queued.instance.study_instance_uid, decision.route, decision.destination, now),
            )


def _insert_task(
    connection: sqlite3.Connection, queued: Queued, decision: Decision, what: tuple[str, str, float]
) -> None:
    """`what` is its state, the reason, and since when."""
    study, (state, reason, now) = queued.instance.study_instance_uid, what
    connection.execute(
        "INSERT INTO tasks"
        " (instance, study_instance_uid, route, destination, role, state, next_at, reason, changed_at, lane)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            queued.identity, study, decision.route, decision.destination, decision.role, state,
            _next_at(decision), reason, now, zlib.crc32(study.encode("utf-8", "replace")) % LANES,
        ),
    )  # fmt: skip


def _next_at(decision: Decision) -> float:
    return 0.0 if decision.until is None else min(decision.until, 1e15)


def decide_again(connection: sqlite3.Connection, queued: Queued, decide: Decide, now: float) -> None:
    """What was settled stays; only what waited is asked about again (T72), and what leads nowhere any more (`GONE`)."""
    tasks = connection.execute(
        "SELECT route, role, destination, state IN ('hold', 'wait'), reason FROM tasks WHERE instance = ?",
        (queued.identity,),
    ).fetchall()
    connection.execute("DELETE FROM tasks WHERE instance = ? AND state IN ('hold', 'wait')", (queued.identity,))
    decisions = decide(queued.instance, _study_facts(connection, queued.instance))
    settled = {(route, role): set[str | None]() for route, role, _, waits, _ in tasks if not waits}
    for route, role, destination, waits, _ in tasks:
        if not waits:
            settled[route, role].add(destination)
    strays = {(route, role): reason for route, role, _, waits, reason in tasks if waits and reason.endswith(GONE)}
    fresh = [
        each
        for each in decisions
        if (each.route, each.role) not in settled
        or ((each.route, each.role) in strays and each.destination not in settled[each.route, each.role])
    ]
    lost = _find_lost(strays, decisions, fresh)
    if fresh or not (settled or lost):
        _queue(connection, queued, fresh, now)
    for (route, role), reason in lost.items():
        _insert_task(connection, queued, Decision(route, "hold", None, role), ("unrouted", reason, now))


def _find_lost(
    strays: Mapping[tuple[str, Role], str], decisions: Sequence[Decision], fresh: Sequence[Decision]
) -> Mapping[tuple[str, Role], str]:
    """The strays that nothing takes the place of: their route says nothing of them, and no other one came for it."""
    told = {(each.route, each.role) for each in decisions if each.role == "primary" or each in fresh}
    routes = {each.route for each in decisions}
    return {key: why for key, why in strays.items() if key not in told and (key[0] in routes or not fresh)}
