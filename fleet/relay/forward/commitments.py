"""What destinations were asked to answer for, and what they answered (PS3.4 annex J).

An instance whose destination is asked is not delivered when it was stored, but when the destination has committed
itself to it: until then it stays in the spool, is asked about again, and is sent again when the answer is no (T62).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet.dicom.commitment import Reference, Report, decode_report
from fleet.relay.forward.outcome import MAX_ATTEMPTS
from fleet.relay.spool.queue import Spool

RESULT_S: Final = 600.0  # without a report after so long it is asked again
RETRY_S: Final = 60.0
MAX_REFERENCES: Final = 500
# PS3.3 C.14.1.1: what sending again would not change.
_FINAL: Final = frozenset((0x0119, 0x0122))  # class and instance contradict each other; class not supported


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a report changed; `is_known` is false where we asked nothing of the kind."""

    is_known: bool
    committed: int = 0
    again: int = 0
    quarantined: int = 0


def claim_uncommitted(spool: Spool, destination: str, now: float) -> dict[int, Reference]:
    """Tasks that are to be asked about now, with what was sent for each."""
    rows = spool.read(
        "SELECT id, sent_class, sent_uid FROM tasks WHERE state = 'uncommitted' AND destination = ? AND next_at <= ?"
        " ORDER BY id LIMIT ?",
        (destination, now, MAX_REFERENCES),
    )
    return {task: (sop_class, uid) for task, sop_class, uid in rows}


def record_asked(spool: Spool, tasks: Sequence[int], transaction_uid: str, next_at: float) -> None:
    """The question is about to go out; on disk first, so that an answer is known even after a crash."""
    with spool.change_all() as connection:
        connection.executemany(
            "UPDATE tasks SET transaction_uid = ?, next_at = ? WHERE id = ? AND state = 'uncommitted'",
            ((transaction_uid, next_at, task) for task in tasks),
        )


def record_report(spool: Spool, destination: str, report: Report, now: float) -> Outcome:
    """What a destination answers for is delivered; the rest of what it names goes again, or into quarantine."""
    good = {uid for _, uid in report.committed}
    bad = {uid: reason for _, uid, reason in report.failed}
    counts = {"delivered": 0, "queued": 0, "quarantined": 0}
    with spool.change_all() as connection:
        rows = connection.execute(
            "SELECT id, sent_uid, attempts FROM tasks WHERE transaction_uid = ? AND destination = ?"
            " AND state = 'uncommitted'",
            (report.transaction_uid, destination),
        ).fetchall()
        for task, uid, attempts in rows:
            if uid in bad:
                state = "quarantined" if bad[uid] in _FINAL or attempts + 1 >= MAX_ATTEMPTS else "queued"
                words = f"not committed (reason {bad[uid]:04X})"
            elif uid in good:
                state, words = "delivered", "committed"
            else:
                continue  # not a word of it: it is asked about again
            connection.execute(
                "UPDATE tasks SET state = ?, reason = ?, next_at = ?, changed_at = ?, attempts = attempts + ?,"
                " transaction_uid = NULL WHERE id = ?",
                (state, words, now + RETRY_S * attempts, now, int(state != "delivered"), task),
            )
            counts[state] += 1
    return Outcome(bool(rows), counts["delivered"], counts["queued"], counts["quarantined"])


def take_report(spool: Spool, destination: str, data: bytes, transfer_syntax: str, now: float) -> Outcome:
    """A report as it came; raises PeerError for what is none."""
    return record_report(spool, destination, decode_report(data, transfer_syntax), now)


def tell_outcome(outcome: Outcome) -> dict[str, int]:
    """What the log says of it."""
    return {"committed": outcome.committed, "again": outcome.again, "quarantined": outcome.quarantined}
