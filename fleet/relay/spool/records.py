"""What is written into the queue's tables: instances, the tasks that follow from decisions, what destinations took.

Every function here runs inside a transaction of `queue`, which says when and how durably it is committed.
"""

import json
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fleet.relay.spool.files import Folder
from fleet.relay.spool.marks import Mark
from fleet.relay.values import Decision, ReceivedInstance, StudyFacts

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


def heal(connection: sqlite3.Connection, stored: Stored, folder: Folder) -> bool:
    """Whether this is the good copy of an instance whose file was lost or damaged: it takes that one's place.

    Its sender hears success, so that what it sent must not be thrown away beside a file that nobody can send.
    """
    instance = stored.instance
    for identity, name in connection.execute(
        "SELECT id, spool_id FROM instances WHERE sop_instance_uid = ? AND sha256 = ? AND NOT forgetting",
        (instance.sop_instance_uid, stored.sha256),
    ).fetchall():
        broken = "state = 'quarantined' AND reason LIKE 'its file %'"
        is_told = connection.execute(f"SELECT 1 FROM tasks WHERE instance = ? AND {broken}", (identity,)).fetchone()  # noqa: S608
        if not is_told and folder.has_bytes(name, stored.size_bytes):
            continue
        connection.execute("UPDATE instances SET spool_id = ? WHERE id = ?", (instance.spool_id, identity))
        connection.execute(
            f"UPDATE tasks SET state = 'queued', next_at = 0, attempts = 0 WHERE instance = ? AND {broken}"  # noqa: S608
            " AND destination IS NOT NULL",
            (identity,),
        )
        connection.execute(  # what had no destination yet is asked about again
            f"UPDATE tasks SET state = 'hold', next_at = 0 WHERE instance = ? AND {broken}",  # noqa: S608
            (identity,),
        )
        _note_caller(connection, instance)
        return True
    return False


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


def add_one(connection: sqlite3.Connection, stored: Stored, decide: Decide) -> bool:
    """Record an instance and where it goes; False where it is here, byte for byte."""
    instance = stored.instance
    twins = connection.execute(
        "SELECT sha256 FROM instances WHERE sop_instance_uid = ? AND NOT forgetting", (instance.sop_instance_uid,)
    ).fetchall()
    _note_caller(connection, instance)
    if (stored.sha256,) in twins:  # T66: the same bytes again change nothing
        return False
    cursor = connection.execute(
        f"INSERT INTO instances ({INSTANCE_COLUMNS}, size_bytes, data_set_offset, sha256, conflict)"  # noqa: S608
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            instance.spool_id, instance.calling, instance.called, instance.sop_class_uid, instance.sop_instance_uid,
            instance.study_instance_uid, instance.modality, instance.transfer_syntax_uid, instance.received_at,
            json.dumps(dict(instance.elements)), stored.size_bytes, stored.data_set_offset, stored.sha256, bool(twins),
        ),
    )  # fmt: skip
    identity = cursor.lastrowid or 0
    _note_study(connection, instance)
    _queue(connection, identity, instance, decide(instance, _study_facts(connection, instance)), instance.received_at)
    # What waits for something that this study has may have been waiting for this instance.
    connection.execute(
        "UPDATE tasks SET next_at = 0 WHERE state = 'wait' AND study_instance_uid = ? AND instance != ?",
        (instance.study_instance_uid, identity),
    )
    return True


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


def _queue(
    connection: sqlite3.Connection, identity: int, instance: ReceivedInstance, decisions: Sequence[Decision], now: float
) -> None:
    study = instance.study_instance_uid
    if not decisions:  # kept and listed, never dropped: a person has to see that no route takes it
        decisions = (Decision("", "hold", until=float("inf")),)
    for decision in decisions:
        connection.execute(
            "INSERT INTO tasks"
            " (instance, study_instance_uid, route, destination, role, state, next_at, reason, changed_at, lane)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                identity, study, decision.route, decision.destination, decision.role,
                _STATES[decision.action] if decision.route else "unrouted",
                _next_at(decision), "" if decision.route else "no route takes it", now,
                zlib.crc32(study.encode("utf-8", "replace")) % LANES,
            ),
        )  # fmt: skip
        if decision.action == "send" and decision.role == "primary":
            connection.execute(
                "INSERT OR IGNORE INTO choices VALUES (?, ?, ?, ?, NULL)",
                (study, decision.route, decision.destination, now),
            )


def _next_at(decision: Decision) -> float:
    return 0.0 if decision.until is None else min(decision.until, 1e15)


def decide_again(
    connection: sqlite3.Connection, identity: int, instance: ReceivedInstance, decide: Decide, now: float
) -> None:
    """What was settled stays; only what waited is asked about again (T72)."""
    connection.execute("DELETE FROM tasks WHERE instance = ? AND state IN ('hold', 'wait')", (identity,))
    settled = set(connection.execute("SELECT route, role FROM tasks WHERE instance = ?", (identity,)).fetchall())
    decisions = decide(instance, _study_facts(connection, instance))
    fresh = [decision for decision in decisions if (decision.route, decision.role) not in settled]
    if fresh or not settled:
        _queue(connection, identity, instance, [replace(each) for each in fresh], now)
