"""The spool: a folder of files, and beside it a queue in SQLite with one row for each instance and destination.

The rules that everything else rests on:

* An instance counts once its file has its final name, file and folder are on disk, and its rows are committed with
  `synchronous=FULL`. Before that it has a `.part` name or no row; what has no row was never acknowledged (T60).
* Deliveries are noted in a file at once and carried into the queue by the next transaction (`marks`), without waiting
  for the disk: they survive the death of the process, and a power cut can at most make one instance go out twice.
* To forget an instance: mark the row, remove the file, remove the row. So a file without a row is what a crash left
  between the rename and the commit, never something that was acknowledged.
"""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleet.dicom.commitment import Reference
from fleet.relay.spool.files import FILE_SUFFIX, PART_SUFFIX, Folder, sync_folder
from fleet.relay.spool.hands import Hands
from fleet.relay.spool.marks import Mark, Marks
from fleet.relay.spool.records import (
    INSTANCE_COLUMNS,
    LANES,
    QUALIFIED_COLUMNS,
    Decide,
    Queued,
    Stored,
    Task,
    add_one,
    apply_marks,
    decide_again,
    make_instance,
    mark_delivered,
)
from fleet.relay.spool.schema import SpoolError, SpoolFullError, bring_up, connect, is_clean
from fleet.relay.spool.twins import find_had


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found on start."""

    instances: int
    removed_parts: int
    orphans: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """How long a piece of work may hold up acknowledgements, by a clock that only counts."""

    most_s: float
    counted: Callable[[], float] = time.monotonic


BOUND: Final = Bound(0.04)


class Spool(Folder):
    """One relay's spool; only one process at a time has it open (T77)."""

    def __init__(self, folder: Path) -> None:
        """Open it, making it where there is none; raises `SpoolError`."""
        super().__init__(folder)
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self.hands = Hands()
        self._is_suspect = False
        try:
            sync_folder(folder)
            # What is acknowledged waits for the disk, what was delivered does not, and who only reads waits for nobody.
            self._durable = connect(folder / "queue.sqlite", "FULL")
            bring_up(self._durable, folder, self.holds_files())
            self._quick = connect(folder / "queue.sqlite", "NORMAL")
            self._reader = connect(folder / "queue.sqlite", "NORMAL")
            self._marks = Marks(folder / "delivered")
            self._marks.recover(self._applied())
        except BaseException as error:
            self.close_folder()
            if isinstance(error, OSError | sqlite3.Error):
                raise SpoolError(f"the spool {folder} cannot be opened: {error}") from error
            raise

    def close(self) -> None:
        """Close it; another process may open it then."""
        with suppress(sqlite3.Error):  # then the file keeps them for the next process
            self._settle_marks()
        with self._writing, self._reading:
            for connection in (self._durable, self._quick, self._reader):
                connection.close()
            self._marks.close()
            self.close_folder()

    # Writing

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        with self._writing:
            if self._is_suspect and connection is self._durable:
                self._rewrite()
            connection.execute("BEGIN IMMEDIATE")
            marks = self._marks.take()
            try:
                apply_marks(connection, marks)
                yield connection
                connection.execute("COMMIT")
            except BaseException as error:
                self._is_suspect = self._is_suspect or (isinstance(error, sqlite3.Error) and not is_clean(error))
                self._marks.give_back(marks)
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            if marks:
                with suppress(OSError):
                    self._marks.settled()

    def _rewrite(self) -> None:
        """After a failed sync nobody knows what of the journal is on the disk, and the next sync would not say (T61).

        What it holds is copied into the database, which is synced; the journal begins anew. Until that works nothing
        is recorded, so nothing is acknowledged.
        """
        busy, *_ = self._durable.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("the journal cannot be written anew while it is read")
        self._is_suspect = False

    def _applied(self) -> int:
        row = self._durable.execute("SELECT value FROM about WHERE key = 'marks'").fetchone()
        return int(row[0]) if row else 0

    def _settle_marks(self) -> None:
        """Carry into the queue what waits for it, if anything does."""
        if self._marks.has_pending:
            with self._transaction(self._quick):
                pass

    def add(self, batch: Sequence[Stored], decide: Decide) -> list[bool]:
        """Record a batch in one transaction; False for each whose bytes were here, so that its file is not needed.

        Raises `SpoolFullError`: then none of the batch is recorded.
        """
        try:
            with self._transaction(self._durable) as connection:
                return [add_one(connection, stored, decide, self) for stored in batch]
        except sqlite3.Error as error:
            raise SpoolFullError(f"the queue cannot be written: {error}", is_clean(error)) from error

    def redecide(self, now: float, decide: Decide, limit: int = 1000, bound: Bound = BOUND) -> int:
        """Ask again about instances whose time to ask has come; returns how many there were.

        Arrivals wait for the end of it, so that it ends in time, however many are left; ask again for those.
        """
        ends_at, done = bound.counted() + bound.most_s, 0
        with self._transaction(self._durable) as connection:
            rows = connection.execute(
                "SELECT instance FROM tasks WHERE state IN ('hold', 'wait') AND next_at <= ?"
                " ORDER BY next_at, id LIMIT ?",
                (now, limit),
            ).fetchall()
            for (identity,) in dict.fromkeys(rows):
                sha256, *columns = connection.execute(
                    f"SELECT sha256, {INSTANCE_COLUMNS} FROM instances WHERE id = ?",  # noqa: S608
                    (identity,),
                ).fetchone()
                instance = make_instance(self, columns)
                had = find_had(connection, instance.sop_instance_uid, sha256, identity)
                decide_again(connection, Queued(identity, instance, had), decide, now)
                done += 1
                if bound.counted() > ends_at:
                    break
        return done

    def claim(self, destination: str, now: float, limit: int, lanes: Sequence[int] = range(LANES)) -> list[Task]:
        """The next instances for a destination, in the order they came; a study stays in its lane."""
        generation = self.hands.generation(destination)
        self._settle_marks()
        with self._reading:
            rows = [row for lane in lanes for row in self._claim_lane(destination, now, limit, lane)]
        rows.sort()
        return [
            Task(
                row[0], make_instance(self, row[8:]), row[1], row[2], row[3], row[4], row[5], row[6], row[7], generation
            )
            for row in rows[:limit]
        ]

    def _claim_lane(self, destination: str, now: float, limit: int, lane: int) -> list[tuple[Any, ...]]:
        return self._reader.execute(
            "SELECT t.id, t.route, t.destination, t.role, t.attempts, i.size_bytes, i.data_set_offset, i.sha256,"  # noqa: S608
            f" {QUALIFIED_COLUMNS} FROM tasks t JOIN instances i ON i.id = t.instance"
            " WHERE t.state = 'queued' AND t.destination = ? AND t.lane = ? AND t.next_at <= ? ORDER BY t.id LIMIT ?",
            (destination, lane, now, limit),
        ).fetchall()

    def record_delivered(self, task: Task, now: float, note: str = "", sent: Reference | None = None) -> None:
        """The destination has it; `sent`, as what, where it still has to commit itself to that."""
        mark = Mark(0, task.task_id, task.destination, now, note, *(sent or ("", "")))
        try:
            self._marks.note(mark)
        except OSError:  # no room for the note: straight into the queue, which may find some
            with self._transaction(self._quick) as connection:
                mark_delivered(connection, mark)

    def record_failed(self, task: Task, now: float, next_at: float, reason: str) -> None:
        """It stays in the queue, to be tried at `next_at`."""
        self._mark(task, "queued", now, next_at, reason)

    def record_quarantined(self, task: Task, now: float, reason: str) -> None:
        """It is taken out of the queue until a person decides."""
        self._mark(task, "quarantined", now, 0.0, reason)

    def _mark(self, task: Task, state: str, now: float, next_at: float, reason: str) -> None:
        with self._transaction(self._quick) as connection:
            connection.execute(
                "UPDATE tasks SET state = ?, next_at = ?, reason = ?, changed_at = ?, attempts = attempts + 1"
                " WHERE id = ? AND destination = ? AND state = 'queued'",
                (state, next_at, reason, now, task.task_id, task.destination),
            )

    def change(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Carry out an operator's change durably; returns how many rows it met."""
        with self._transaction(self._durable) as connection:
            return connection.execute(statement, values).rowcount

    @contextmanager
    def change_all(self) -> Iterator[sqlite3.Connection]:
        """Several changes that belong together, durably."""
        with self._transaction(self._durable) as connection:
            yield connection

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Ask the queue something."""
        with suppress(sqlite3.Error):  # what cannot be carried into it now makes an answer late, not wrong for ever
            self._settle_marks()
        with self._reading:
            return self._reader.execute(statement, values).fetchall()

    def forget(self, spool_ids: Iterable[str]) -> int:
        """Remove instances, rows last: a crash in between leaves rows that say what to remove.

        One that has something to do again since it was found to be done stays. So does one that is still on its way
        to a destination which another took over from: SQLite gives the numbers of removed rows to new ones, and the
        late answer would be taken for one about those.
        """
        busy = self.hands.everything()  # whoever has left a hand by now has noted the answer, which we carry
        with self._transaction(self._durable) as connection:
            in_hand = json.dumps(sorted(busy | self.hands.everything()))
            names = [
                name
                for name in spool_ids
                if connection.execute(
                    "UPDATE instances SET forgetting = 1 WHERE spool_id = ? AND NOT EXISTS (SELECT 1 FROM tasks t"
                    " WHERE t.instance = instances.id AND (t.state NOT IN ('delivered', 'skipped', 'dropped')"
                    "  OR t.id IN (SELECT value FROM json_each(?))))",
                    (name, in_hand),
                ).rowcount
            ]
        return self._remove(names)

    def _remove(self, names: Sequence[str]) -> int:
        for name in names:
            self.path(name).unlink(missing_ok=True)
        with self._transaction(self._durable) as connection:
            studies = {
                row
                for name in names
                for row in connection.execute("SELECT study_instance_uid FROM instances WHERE spool_id = ?", (name,))
            }
            connection.executemany("DELETE FROM instances WHERE spool_id = ?", ((name,) for name in names))
            for table in ("choices", "study_values", "studies"):
                connection.executemany(
                    f"DELETE FROM {table} WHERE study_instance_uid = ?1"  # noqa: S608
                    " AND NOT EXISTS (SELECT 1 FROM instances WHERE study_instance_uid = ?1)",
                    studies,
                )
        return len(names)

    # On start

    def reconcile(self, now: float) -> Reconciled:
        """Make folder and queue agree: parts go, orphans move aside, rows without a file are quarantined."""
        self._remove([row[0] for row in self.read("SELECT spool_id FROM instances WHERE forgetting")])
        known = {row[0] for row in self.read("SELECT spool_id FROM instances")}
        parts, orphans = 0, []
        for entry in os.scandir(self.files):
            name = entry.name.removesuffix(FILE_SUFFIX)
            if entry.name.endswith(PART_SUFFIX):
                Path(entry.path).unlink()
                parts += 1
            elif name in known:
                known.discard(name)
            else:
                orphans.append(entry.name)
        for each in self.work.iterdir():
            each.unlink()
        self.move_aside(orphans)
        for name in known:
            self.change(
                "UPDATE tasks SET state = 'quarantined', reason = 'its file is missing', changed_at = ? WHERE state IN"
                " ('queued', 'hold', 'wait', 'uncommitted') AND instance ="
                " (SELECT id FROM instances WHERE spool_id = ?)",
                (now, name),
            )
        total = self.read("SELECT count(*) FROM instances")[0][0]
        return Reconciled(total, parts, tuple(sorted(orphans)), tuple(sorted(known)))
