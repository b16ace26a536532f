"""The spool: a folder of files, and beside it a queue in SQLite with one row for each instance and destination.

The rules that everything else rests on:

* An instance counts once its file has its final name, file and folder are on disk, and its rows are committed with
  `synchronous=FULL`. Before that it has a `.part` name or no row; what has no row was never acknowledged (T60).
* A file is never changed. Names are random ids of our own; nothing of a peer's goes into a path (T67).
* Deliveries are noted in a file at once and carried into the queue by the next transaction (`marks`), without waiting
  for the disk: they survive the death of the process, and a power cut can at most make one instance go out twice.
* To forget an instance: mark the row, remove the file, remove the row. So a file without a row is what a crash left
  between the rename and the commit, never something that was acknowledged.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fleet.dicom.commitment import Reference
from fleet.errors import FleetError
from fleet.relay.spool.marks import Mark, Marks
from fleet.relay.values import Decision, ReceivedInstance, StudyFacts

VERSION: Final = 3
PART_SUFFIX: Final = ".part"
FILE_SUFFIX: Final = ".dcm"
LANES: Final = 4  # associations with one destination at most; a study stays in one, so that series keep their order
_BUSY_S: Final = 30.0
_SCHEMA: Final = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE instances (
  id INTEGER PRIMARY KEY, spool_id TEXT NOT NULL UNIQUE, calling TEXT NOT NULL, called TEXT NOT NULL,
  sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL, study_instance_uid TEXT NOT NULL,
  modality TEXT NOT NULL, transfer_syntax_uid TEXT NOT NULL, received_at REAL NOT NULL, elements TEXT NOT NULL,
  size_bytes INTEGER NOT NULL, data_set_offset INTEGER NOT NULL, sha256 TEXT NOT NULL,
  conflict INTEGER NOT NULL DEFAULT 0, forgetting INTEGER NOT NULL DEFAULT 0);
CREATE INDEX instances_by_uid ON instances (sop_instance_uid);
CREATE INDEX instances_by_study ON instances (study_instance_uid);
CREATE TABLE tasks (
  id INTEGER PRIMARY KEY, instance INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  study_instance_uid TEXT NOT NULL, route TEXT NOT NULL, destination TEXT, role TEXT NOT NULL, state TEXT NOT NULL,
  next_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
  changed_at REAL NOT NULL, lane INTEGER NOT NULL, transaction_uid TEXT, sent_class TEXT, sent_uid TEXT);
CREATE INDEX tasks_by_transaction ON tasks (transaction_uid) WHERE transaction_uid IS NOT NULL;
CREATE INDEX tasks_to_do ON tasks (destination, lane, id) WHERE state = 'queued';
CREATE INDEX tasks_open ON tasks (state, destination) WHERE state NOT IN ('delivered', 'skipped', 'dropped');
CREATE INDEX tasks_by_instance ON tasks (instance);
CREATE INDEX tasks_by_study ON tasks (study_instance_uid, route);
CREATE INDEX tasks_waiting ON tasks (next_at) WHERE state IN ('hold', 'wait');
CREATE TABLE studies (study_instance_uid TEXT PRIMARY KEY, first_received_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE study_values (study_instance_uid TEXT, keyword TEXT, value TEXT,
  PRIMARY KEY (study_instance_uid, keyword, value)) WITHOUT ROWID;
CREATE TABLE choices (study_instance_uid TEXT, route TEXT, destination TEXT NOT NULL, chosen_at REAL NOT NULL,
  delivered_at REAL, PRIMARY KEY (study_instance_uid, route)) WITHOUT ROWID;
CREATE TABLE callers (calling TEXT PRIMARY KEY, last_at REAL NOT NULL, instances INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE reidentified (at REAL NOT NULL, user_id INTEGER NOT NULL, reason TEXT NOT NULL, asked TEXT NOT NULL,
  found INTEGER NOT NULL);
CREATE TABLE paused (destination TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID;
"""
_UPGRADES: Final[Mapping[int, str]] = {
    1: "ALTER TABLE tasks ADD COLUMN transaction_uid TEXT; ALTER TABLE tasks ADD COLUMN sent_class TEXT;"
    " ALTER TABLE tasks ADD COLUMN sent_uid TEXT;"
    " CREATE INDEX tasks_by_transaction ON tasks (transaction_uid) WHERE transaction_uid IS NOT NULL;",
    2: "CREATE TABLE reidentified (at REAL NOT NULL, user_id INTEGER NOT NULL, reason TEXT NOT NULL,"
    " asked TEXT NOT NULL, found INTEGER NOT NULL);",
}
_INSTANCE_COLUMNS: Final = (
    "spool_id, calling, called, sop_class_uid, sop_instance_uid, study_instance_uid, modality, transfer_syntax_uid,"
    " received_at, elements"
)
_QUALIFIED: Final = _INSTANCE_COLUMNS.replace("study_instance_uid", "i.study_instance_uid")


class SpoolError(FleetError):
    """The spool cannot be used; nothing in it was changed."""


class SpoolFullError(FleetError):
    """What was to be recorded is not; `is_clean` where it is certain that no trace of it reached the disk."""

    def __init__(self, message: str, is_clean: bool) -> None:
        super().__init__(message)
        self.is_clean = is_clean


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


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found on start."""

    instances: int
    removed_parts: int
    orphans: tuple[str, ...]
    missing: tuple[str, ...]


Decide = Callable[[ReceivedInstance, StudyFacts], Sequence[Decision]]


def check_private(folder: Path) -> None:
    """The folder is ours, a real one, and nobody else enters it."""
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.geteuid():
        raise SpoolError(f"the spool {folder} is a link or belongs to user {found.st_uid}; it has to be ours")
    if found.st_mode & 0o077:
        raise SpoolError(
            f"the spool {folder} has mode {found.st_mode & 0o777:o}; others could read patients' images: 0700"
        )


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power cut (fsync(2), "Calling fsync() does not necessarily ensure…")."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -8000")
    return connection


def is_clean(error: sqlite3.Error) -> bool:
    """Whether nothing of a transaction that failed like this can be on the disk."""
    return getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}


class Spool:
    """One relay's spool; only one process at a time has it open (T77)."""

    def __init__(self, folder: Path) -> None:
        """Open it, making it where there is none; raises `SpoolError`."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(folder)
            self.folder = folder
            self.files = folder / "instances"
            self.work = folder / "work"
            for each in (self.files, self.work):
                each.mkdir(mode=0o700, exist_ok=True)
            self._lock_file = self._lock()
        except OSError as error:
            raise SpoolError(f"the spool {folder} cannot be opened: {error}") from error
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._is_suspect = False
        try:
            sync_folder(folder)
            # What is acknowledged waits for the disk, what was delivered does not, and who only reads waits for nobody.
            self._durable = _connect(folder / "queue.sqlite", "FULL")
            self._version()
            self._quick = _connect(folder / "queue.sqlite", "NORMAL")
            self._reader = _connect(folder / "queue.sqlite", "NORMAL")
            self._marks = Marks(folder / "delivered")
            self._marks.recover(self._applied())
        except BaseException as error:
            os.close(self._lock_file)
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
            os.close(self._lock_file)

    def _lock(self) -> int:
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise SpoolError(f"another relay works on the spool {self.folder}; stop it first") from error
        return descriptor

    def _version(self) -> None:
        """T78: an older spool is brought up, a newer one refused, and a scratched one never taken for an empty one."""
        found = self._durable.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise SpoolError(
                f"the spool {self.folder} was written by a newer relay (form {found}; this one knows {VERSION})"
            )
        tables = self._durable.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        while 0 < found < VERSION:
            self._durable.executescript(f"BEGIN; {_UPGRADES[found]} PRAGMA user_version = {found + 1}; COMMIT;")
            found += 1
        if found == VERSION:
            return
        if tables or any(self.files.glob(f"*{FILE_SUFFIX}")):
            raise SpoolError(f"the spool {self.folder} holds files but no queue of this form; it is not overwritten")
        self._durable.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")

    # Files

    def part_path(self, spool_id: str) -> Path:
        """Where an instance is written while it arrives."""
        return self.files / (spool_id + PART_SUFFIX)

    def path(self, spool_id: str) -> Path:
        """Where an instance lies."""
        return self.files / (spool_id + FILE_SUFFIX)

    def free_bytes(self) -> int:
        """What may still be written, above the reserve of 5 % or 1 GB, whichever is less (T61)."""
        usage = shutil.disk_usage(self.folder)
        return usage.free - min(usage.total // 20, 1_000_000_000)

    def write_private(self, path: Path, content: bytes) -> None:
        """A small file of the spool, wholly there or not at all."""
        part = path.with_suffix(PART_SUFFIX)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.rename(path)
        sync_folder(path.parent)

    # Writing

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        with self._writing:
            if self._is_suspect and connection is self._durable:
                self._rewrite()
            connection.execute("BEGIN IMMEDIATE")
            marks = self._marks.take()
            try:
                _apply(connection, marks)
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
        """Record a batch in one transaction; True for each that is new, False for one that was here, byte for byte.

        Raises `SpoolFullError`: then none of the batch is recorded.
        """
        try:
            with self._transaction(self._durable) as connection:
                return [self._heal(connection, stored) or _add_one(connection, stored, decide) for stored in batch]
        except sqlite3.Error as error:
            raise SpoolFullError(f"the queue cannot be written: {error}", is_clean(error)) from error

    def _heal(self, connection: sqlite3.Connection, stored: Stored) -> bool:
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
            if not is_told and _has_bytes(self.path(name), stored.size_bytes):
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

    def redecide(self, now: float, decide: Decide, limit: int = 200) -> int:
        """Ask again about instances whose time to ask has come; returns how many there were."""
        with self._transaction(self._durable) as connection:
            rows = connection.execute(
                f"SELECT DISTINCT i.id, {_QUALIFIED} FROM tasks t JOIN instances i ON i.id = t.instance"  # noqa: S608
                " WHERE t.state IN ('hold', 'wait') AND t.next_at <= ? ORDER BY i.id LIMIT ?",
                (now, limit),
            ).fetchall()
            for identity, *columns in rows:
                _decide_again(connection, identity, self._instance(columns), decide, now)
            return len(rows)

    def claim(self, destination: str, now: float, limit: int, lanes: Sequence[int] = range(LANES)) -> list[Task]:
        """The next instances for a destination, in the order they came; a study stays in its lane."""
        self._settle_marks()
        with self._reading:
            rows = [row for lane in lanes for row in self._claim_lane(destination, now, limit, lane)]
        rows.sort()
        return [Task(row[0], self._instance(row[8:]), row[1], row[2], row[3], *row[4:8]) for row in rows[:limit]]

    def _claim_lane(self, destination: str, now: float, limit: int, lane: int) -> list[tuple[Any, ...]]:
        return self._reader.execute(
            "SELECT t.id, t.route, t.destination, t.role, t.attempts, i.size_bytes, i.data_set_offset, i.sha256,"  # noqa: S608
            f" {_QUALIFIED} FROM tasks t JOIN instances i ON i.id = t.instance"
            " WHERE t.state = 'queued' AND t.destination = ? AND t.lane = ? AND t.next_at <= ? ORDER BY t.id LIMIT ?",
            (destination, lane, now, limit),
        ).fetchall()

    def _instance(self, columns: Sequence[Any]) -> ReceivedInstance:
        return ReceivedInstance(columns[0], self.path(columns[0]), *columns[1:9], json.loads(columns[9]))  # type: ignore[call-arg]

    def record_delivered(self, task: Task, now: float, note: str = "", sent: Reference | None = None) -> None:
        """The destination has it; `sent`, as what, where it still has to commit itself to that."""
        mark = Mark(0, task.task_id, task.destination, now, note, *(sent or ("", "")))
        try:
            self._marks.note(mark)
        except OSError:  # no room for the note: straight into the queue, which may find some
            with self._transaction(self._quick) as connection:
                _mark_delivered(connection, mark)

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
        """Remove instances, rows last: a crash in between leaves rows that say what to remove."""
        names = tuple(spool_ids)
        with self._transaction(self._durable) as connection:
            connection.executemany(
                "UPDATE instances SET forgetting = 1 WHERE spool_id = ?", ((name,) for name in names)
            )
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
        self.forget(row[0] for row in self.read("SELECT spool_id FROM instances WHERE forgetting"))
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
        self._move_aside(orphans)
        for name in known:
            self.change(
                "UPDATE tasks SET state = 'quarantined', reason = 'its file is missing', changed_at = ? WHERE state IN"
                " ('queued', 'hold', 'wait', 'uncommitted') AND instance ="
                " (SELECT id FROM instances WHERE spool_id = ?)",
                (now, name),
            )
        total = self.read("SELECT count(*) FROM instances")[0][0]
        return Reconciled(total, parts, tuple(sorted(orphans)), tuple(sorted(known)))

    def _move_aside(self, names: Sequence[str]) -> None:
        """Never acknowledged, so nobody waits for them; but images are not thrown away unseen."""
        if not names:
            return
        aside = self.folder / "orphans"
        aside.mkdir(mode=0o700, exist_ok=True)
        for name in names:
            (self.files / name).rename(aside / name)
        sync_folder(aside)
        sync_folder(self.files)


def _has_bytes(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except FileNotFoundError:
        return False


def _apply(connection: sqlite3.Connection, marks: Sequence[Mark]) -> None:
    for mark in marks:
        _mark_delivered(connection, mark)
    if marks:
        connection.execute("INSERT OR REPLACE INTO about VALUES ('marks', ?)", (str(marks[-1].number),))


def _mark_delivered(connection: sqlite3.Connection, mark: Mark) -> None:
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


def _add_one(connection: sqlite3.Connection, stored: Stored, decide: Decide) -> bool:
    instance = stored.instance
    twins = connection.execute(
        "SELECT sha256 FROM instances WHERE sop_instance_uid = ? AND NOT forgetting", (instance.sop_instance_uid,)
    ).fetchall()
    _note_caller(connection, instance)
    if (stored.sha256,) in twins:  # T66: the same bytes again change nothing
        return False
    cursor = connection.execute(
        f"INSERT INTO instances ({_INSTANCE_COLUMNS}, size_bytes, data_set_offset, sha256, conflict)"  # noqa: S608
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


def _decide_again(
    connection: sqlite3.Connection, identity: int, instance: ReceivedInstance, decide: Decide, now: float
) -> None:
    """What was settled stays; only what waited is asked about again (T72)."""
    connection.execute("DELETE FROM tasks WHERE instance = ? AND state IN ('hold', 'wait')", (identity,))
    settled = set(connection.execute("SELECT route, role FROM tasks WHERE instance = ?", (identity,)).fetchall())
    decisions = decide(instance, _study_facts(connection, instance))
    fresh = [decision for decision in decisions if (decision.route, decision.role) not in settled]
    if fresh or not settled:
        _queue(connection, identity, instance, [replace(each) for each in fresh], now)
