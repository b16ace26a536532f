"""The same bytes again (T66): what an arrival still asks for beside an earlier one of the same bytes.

Under the same titles: nothing, but for what an operator dropped and for a file that was lost; that is done again.
Under other titles other routes may take it: it is an arrival of its own, and what goes to a destination by a route
already does not go there twice.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from fleet.relay.spool.files import Folder
from fleet.relay.values import Decision, ReceivedInstance

Pair = tuple[str, str | None]  # route, destination
TWIN: Final = "the same bytes go there already, as another arrival"
_BROKEN: Final = "state = 'quarantined' AND reason LIKE 'its file %'"


def find_had(connection: sqlite3.Connection, sop_instance_uid: str, sha256: str, but: int = 0) -> frozenset[Pair]:
    """Where the same bytes were sent, or are on their way to, by rows other than `but`."""
    rows = connection.execute(
        "SELECT t.route, t.destination FROM instances i JOIN tasks t ON t.instance = i.id WHERE i.sop_instance_uid = ?"
        " AND i.sha256 = ? AND i.id != ? AND NOT i.forgetting AND t.destination IS NOT NULL"
        " AND t.state NOT IN ('dropped', 'skipped')",
        (sop_instance_uid, sha256, but),
    )
    return frozenset(rows.fetchall())


def is_had(decision: Decision, had: frozenset[Pair]) -> bool:
    """Whether it leads to where the same bytes go already."""
    return decision.action == "send" and (decision.route, decision.destination) in had


def asks_nothing(decisions: Sequence[Decision], had: frozenset[Pair]) -> bool:
    """Whether every route that takes it sends it where it goes already; none at all is for a person to see."""
    return bool(decisions) and all(each.action == "skip" or is_had(each, had) for each in decisions)


def take_up_dropped(connection: sqlite3.Connection, instance: ReceivedInstance, sha256: str) -> None:
    """Somebody sent again, under the same titles, what an operator had dropped: it goes there after all."""
    had = set(find_had(connection, instance.sop_instance_uid, sha256))
    for task, route, destination in connection.execute(
        "SELECT t.id, t.route, t.destination FROM instances i JOIN tasks t ON t.instance = i.id"
        " WHERE i.sop_instance_uid = ? AND i.sha256 = ? AND i.calling = ? AND i.called = ? AND NOT i.forgetting"
        " AND (t.state = 'dropped' OR (t.state = 'skipped' AND t.reason = ?)) ORDER BY t.id",
        (instance.sop_instance_uid, sha256, instance.calling, instance.called, TWIN),
    ).fetchall():
        if (route, destination) in had:
            continue
        connection.execute(
            "UPDATE tasks SET state = ?, next_at = 0, attempts = 0, reason = 'sent again', changed_at = ? WHERE id = ?",
            ("queued" if destination else "hold", instance.received_at, task),
        )
        had.add((route, destination))


def heal(connection: sqlite3.Connection, spool_id: str, twin: tuple[int, str, int], folder: Folder) -> bool:
    """Whether this is the good copy of an instance whose file was lost or damaged: it takes that one's place.

    Its sender hears success, so that what it sent must not be thrown away beside a file that nobody can send.
    """
    identity, name, size_bytes = twin
    is_told = connection.execute(f"SELECT 1 FROM tasks WHERE instance = ? AND {_BROKEN}", (identity,)).fetchone()  # noqa: S608
    if not is_told and folder.has_bytes(name, size_bytes):
        return False
    connection.execute("UPDATE instances SET spool_id = ? WHERE id = ?", (spool_id, identity))
    connection.execute(
        f"UPDATE tasks SET state = 'queued', next_at = 0, attempts = 0 WHERE instance = ? AND {_BROKEN}"  # noqa: S608
        " AND destination IS NOT NULL",
        (identity,),
    )
    connection.execute(  # what had no destination yet is asked about again
        f"UPDATE tasks SET state = 'hold', next_at = 0 WHERE instance = ? AND {_BROKEN}",  # noqa: S608
        (identity,),
    )
    return True
