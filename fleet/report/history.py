"""What fleet did and saw, remembered: SQLite in WAL mode, so that reading never blocks and is never blocked.

One file for every run. It is made whole beside its place and then linked there, so that an empty or a cut file
is never one of ours in the making (T44); what decisions rest on (the last valid inventory, what was last
applied, what was typed into a box) carries a digest of its own and is compared when read. The only module that
knows SQLite.
"""

import functools
import hashlib
import json
import os
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from fleet.errors import HistoryError, PlanStale
from fleet.plan.conceal import Concealer
from fleet.report import history_tables as tables
from fleet.report.habit import find_habits
from fleet.report.history_file import (
    VERSION,
    as_sentence,
    check_absence,
    check_file,
    make_private,
    make_private_folder,
    rebuild_hint,
)
from fleet.report.journal import Head, KnownHead
from fleet.report.masking import mask_arguments
from fleet.report.records import AppliedFleet, FailingSince, RunStart, SheetMark, Snapshot, StoredRun
from fleet.report.streaks import find_streaks
from fleet.report.summary import EchoLine, FileChange, HostLine, Verdict

BUSY_TIMEOUT_S: Final = 30.0
QUICK_CHECK_BELOW_BYTES: Final = 64 * 1024 * 1024

P = ParamSpec("P")
R = TypeVar("R")


def _whole(read: Callable[Concatenate["History", P], R]) -> Callable[Concatenate["History", P], R]:
    """What is read back must make the value it was made of: where it does not, the file was changed by others."""

    @functools.wraps(read)
    def call(history: "History", /, *arguments: P.args, **options: P.kwargs) -> R:
        try:
            return read(history, *arguments, **options)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            message = f"{history.path}: the history is corrupt: what is read is not what was recorded ({error})"
            raise HistoryError(f"{message}; {rebuild_hint(history.path)}") from error

    return call


class History:
    """An open history. Use it as a context manager; one thread at a time.

    One file holds the runs of every fleet that a person looks after; `concern` narrows what is read to one.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path
        self._fleet: str | None = None
        connection.create_function("is_mine", 1, self._is_mine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; the last to do so folds the log into it."""
        with _mapped(self.path):
            self._connection.close()

    def concern(self, fleet: str) -> None:
        """From now on only runs of this fleet are read, and what is marked is of this fleet."""
        self._fleet = fleet

    def concern_what_there_is(self) -> tuple[str, ...]:
        """For an inventory whose name cannot be read: its fleet is the only one there is. Returns those there are."""
        fleets = self.fleets()
        if len(fleets) < 2:
            self._fleet = fleets[0] if fleets else None
        return fleets

    def _is_mine(self, fleet: str | None) -> bool:
        """Runs of a history of version 1 do not say of which fleet they are: they are everybody's."""
        return self._fleet is None or fleet is None or fleet == self._fleet

    # Recording -----------------------------------------------------------------------------------------

    def record_run_start(self, start: RunStart) -> None:
        """A run begins; secrets on its command line are masked here."""
        words = json.dumps(mask_arguments(start.argv))
        with self._writing() as cursor:
            cursor.execute(
                tables.INSERT_RUN,
                (
                    *(start.run_id, start.verb, start.started_at, start.playbook, start.who, start.where),
                    *(start.ticket, start.reason, start.git_commit, start.inventory_digest, words, start.fleet),
                ),
            )

    def record_run_finish(
        self, run_id: str, finished_at: str, exit_status: int, summary: Mapping[str, Any] | None = None
    ) -> None:
        """A run ended; `summary` is plain JSON-able data (see `machine.make_run_summary`)."""
        text = json.dumps(summary or {})
        with self._writing() as cursor:
            number = _number(cursor, run_id)
            values = (finished_at, exit_status, text, number)
            cursor.execute("UPDATE runs SET finished_at = ?, exit_status = ?, summary = ? WHERE number = ?", values)

    def record_fleet(self, run_id: str, fleet: str) -> None:
        """The run is about this fleet, and so is what is read from now on."""
        with self._writing() as cursor:
            cursor.execute("UPDATE runs SET fleet = ? WHERE number = ?", (fleet, _number(cursor, run_id)))
        self.concern(fleet)

    def record_inventory(self, snapshot: Snapshot) -> None:
        """This inventory is valid: its files are kept, each content once."""
        inventory_digest = snapshot.inventory_digest
        with self._writing() as cursor:
            number = _number(cursor, snapshot.run_id)
            known = "SELECT 1 FROM snapshots WHERE inventory_digest = ? LIMIT 1"
            if cursor.execute(known, (inventory_digest,)).fetchone() is None:
                named = [(path, content, _digest(content)) for path, content in sorted(snapshot.files.items())]
                packed = ((digest, zlib.compress(content)) for _, content, digest in named)
                cursor.executemany("INSERT OR IGNORE INTO documents VALUES (?, ?)", packed)
                rows = ((inventory_digest, path, digest) for path, _, digest in named)
                cursor.executemany("INSERT INTO snapshots VALUES (?, ?, ?)", rows)
            values = (number, inventory_digest, snapshot.recorded_at)
            cursor.execute("INSERT OR REPLACE INTO valid_inventories VALUES (?, ?, ?)", values)
            cursor.execute("UPDATE runs SET inventory_digest = ? WHERE number = ?", (inventory_digest, number))

    def record_host_outcomes(self, run_id: str, lines: Iterable[HostLine]) -> None:
        """How hosts ended, and the files that changed there; a host's later word replaces its earlier one."""
        lines = tuple(lines)
        with self._writing() as cursor:
            number = _number(cursor, run_id)
            rows = [
                (number, line.host, line.outcome, line.phase, line.detail, line.verdict is not Verdict.WRONG)
                for line in lines
            ]
            _execute_many(cursor, "INSERT OR REPLACE INTO host_outcomes VALUES (?, ?, ?, ?, ?, ?)", rows)
            changes = [
                (number, line.host, change.path, change.before_digest, change.after_digest)
                for line in lines
                for change in line.files
            ]
            _execute_many(cursor, "INSERT OR REPLACE INTO file_changes VALUES (?, ?, ?, ?, ?)", changes)

    def record_echo_results(self, run_id: str, lines: Iterable[EchoLine]) -> None:
        """Results of a sweep, all or a part, in one transaction."""
        rows = [line.columns for line in lines]
        with self._writing() as cursor:
            number = _number(cursor, run_id)
            last = cursor.execute("SELECT max(row) FROM echo_results").fetchone()[0] or 0
            _execute_many(cursor, tables.INSERT_ECHO, rows)
            # A sweep that is recorded in parts stays one span, unless another wrote in between.
            longer = "UPDATE sweeps SET last_row = ? WHERE run = ? AND last_row = ?"
            if rows and not cursor.execute(longer, (last + len(rows), number, last)).rowcount:
                cursor.execute("INSERT INTO sweeps VALUES (?, ?, ?)", (number, last + 1, last + len(rows)))

    def record_applied(self, applied: AppliedFleet) -> None:
        """What the inventory held when it was applied: all its titles and hosts, whatever the run was limited to."""
        text = json.dumps({"titles": sorted(applied.titles), "hosts": sorted(applied.hosts)})
        with self._writing() as cursor:
            number = _number(cursor, applied.run_id)
            row = (number, applied.applied_at, applied.inventory_digest, text, _digest(text.encode()))
            cursor.execute("INSERT OR REPLACE INTO applied VALUES (?, ?, ?, ?, ?)", row)
            rows = [(host, self._fleet or "", number) for host in sorted(applied.hosts)]
            mine = ((host,) for host, *_ in rows)  # of a history of version 1: now it is known whose they are
            cursor.executemany(f"DELETE FROM known_hosts WHERE host = ? AND {tables.OF_ANY_FLEET}", mine)  # noqa: S608
            cursor.executemany("INSERT OR REPLACE INTO known_hosts VALUES (?, ?, ?)", rows)

    def forget_host(self, host: str) -> bool:
        """No longer expect a host to be in the inventory (`--forget-host`, or retired and clean)."""
        with self._writing() as cursor:
            mine = "SELECT number FROM runs WHERE is_mine(fleet)"
            statement = f"DELETE FROM known_hosts WHERE host = ? AND run IN ({mine})"  # noqa: S608  no one's words
            return cursor.execute(statement, (host,)).rowcount > 0

    def mark_done(self, sheets: Iterable[Mapping[str, Any]], who: str, marked_at: str, *, kind: str = "done") -> None:
        """These boxes hold what their sheets (`Sheet.to_json()`) say; `assumed` for the first run's baseline."""
        said = (kind, who, marked_at, self._fleet)
        rows = [(str(sheet["box"]), str(sheet["digest"]), json.dumps(sheet), *said) for sheet in sheets]
        statement = (
            "INSERT INTO sheet_marks (box, digest, sheet, kind, who, marked_at, fleet) VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        with self._writing() as cursor:
            _execute_many(cursor, statement, rows)

    # Reading -------------------------------------------------------------------------------------------

    @_whole
    def list_runs(self, limit: int = 20, *, verb: str | None = None) -> tuple[StoredRun, ...]:
        """The newest runs first."""
        of_verb = " AND (verb = ? OR (? = 'run' AND playbook != ''))"
        where, values = (of_verb, (verb, verb, limit)) if verb else ("", (limit,))
        rows = self._read(f"{tables.SELECT_RUNS} WHERE is_mine(fleet){where} ORDER BY number DESC LIMIT ?", values)
        return tuple(_run(row) for row in rows)

    @_whole
    def show_run(self, run_id: str) -> StoredRun:
        """A run by its id, by an unambiguous beginning of it, or `last`. Raises `HistoryError`."""
        return _run(self._read(f"{tables.SELECT_RUNS} WHERE number = ?", (self._find(run_id),))[0])

    def last_run(self, verb: str | None = None) -> StoredRun | None:
        """The newest run, of a verb if one is named."""
        return next(iter(self.list_runs(1, verb=verb)), None)

    @_whole
    def last_sweep(self) -> tuple[StoredRun, tuple[EchoLine, ...]] | None:
        """The newest run that asked anybody, with its results."""
        number = self._newest("sweeps")
        if number is None:
            return None
        run = _run(self._read(f"{tables.SELECT_RUNS} WHERE number = ?", (number,))[0])
        return run, self._echoes(number)

    @_whole
    def echo_results(self, run_id: str) -> tuple[EchoLine, ...]:
        """The results of a run, in the order they were recorded."""
        return self._echoes(self._find(run_id))

    @_whole
    def host_outcomes(self, run_id: str) -> tuple[HostLine, ...]:
        """How the hosts of a run ended, and the files that changed there."""
        number = self._find(run_id)
        files: dict[str, list[FileChange]] = {}
        statement = "SELECT host, path, before_digest, after_digest FROM file_changes WHERE run = ? ORDER BY host, path"
        for host, *change in self._read(statement, (number,)):
            files.setdefault(host, []).append(FileChange(*change))
        statement = "SELECT host, outcome, phase, detail FROM host_outcomes WHERE run = ? ORDER BY host"
        rows = self._read(statement, (number,))
        return tuple(HostLine(row[0], row[1], row[2], row[3], tuple(files.get(row[0], ()))) for row in rows)

    @_whole
    def failed_names(self, run_id: str | None = None) -> tuple[str, ...]:
        """Titles and hosts that were not as desired, sorted: in a run, or in the last that touched the network."""
        number = self._find(run_id) if run_id else max(self._newest("sweeps") or 0, self._newest("host_outcomes") or 0)
        if not number:
            raise HistoryError(f"{self.path}: no run here asked or changed anything yet, so @failed means nothing")
        statement = "SELECT host FROM host_outcomes WHERE run = ? AND NOT as_desired"
        names = {row[0] for row in self._read(statement, (number,))}
        for first, last in self._spans(number):
            statement = "SELECT ae_title FROM echo_results WHERE as_desired = 0 AND row BETWEEN ? AND ?"
            names |= {row[0] for row in self._read(statement, (first, last))}
        return tuple(sorted(names))

    @_whole
    def last_valid_inventory(self) -> Snapshot | None:
        """The newest inventory that was valid, with its files, each compared with its digest."""
        statement = (
            "SELECT v.inventory_digest, r.run_id, v.recorded_at FROM valid_inventories v "
            "JOIN runs r ON r.number = v.run WHERE is_mine(r.fleet) ORDER BY v.run DESC LIMIT 1"
        )
        rows = self._read(statement)
        if not rows:
            return None
        digest, run_id, recorded_at = rows[0]
        return Snapshot(digest, run_id, recorded_at, self._files(digest))

    @_whole
    def last_applied(self) -> AppliedFleet | None:
        """What the fleet held when it was last applied."""
        statement = (
            "SELECT r.run_id, a.applied_at, a.inventory_digest, a.names, a.digest FROM applied a "
            "JOIN runs r ON r.number = a.run WHERE is_mine(r.fleet) ORDER BY a.run DESC LIMIT 1"
        )
        rows = self._read(statement)
        if not rows:
            return None
        run_id, applied_at, inventory_digest, text, digest = rows[0]
        self._compare(text.encode(), digest, "the list of what was last applied")
        names = json.loads(text)
        return AppliedFleet(run_id, applied_at, inventory_digest, frozenset(names["titles"]), frozenset(names["hosts"]))

    @_whole
    def known_hosts(self) -> frozenset[str]:
        """Hosts that were in an inventory that was applied, and were not forgotten since."""
        statement = "SELECT k.host FROM known_hosts k JOIN runs r ON r.number = k.run WHERE is_mine(r.fleet)"
        return frozenset(row[0] for row in self._read(statement))

    @_whole
    def fleets(self) -> tuple[str, ...]:
        """The names of the fleets that this file has runs of, sorted."""
        statement = "SELECT DISTINCT fleet FROM runs WHERE fleet IS NOT NULL AND fleet != '' ORDER BY fleet"
        return tuple(row[0] for row in self._read(statement))

    @_whole
    def applied_fleets(self) -> tuple[str, ...]:
        """The names of the fleets that were applied, sorted."""
        statement = (
            "SELECT DISTINCT r.fleet FROM applied a JOIN runs r ON r.number = a.run WHERE r.fleet IS NOT NULL "
            "ORDER BY r.fleet"
        )
        return tuple(row[0] for row in self._read(statement))

    @_whole
    def verbs(self) -> tuple[str, ...]:
        """The verbs that runs were of, sorted."""
        return tuple(row[0] for row in self._read("SELECT DISTINCT verb FROM runs WHERE is_mine(fleet) ORDER BY verb"))

    @_whole
    def sheet_marks(self) -> Mapping[str, SheetMark]:
        """What each box was last said to hold, by title; `fleet.sheet.boxes` decides from them what is open."""
        statement = (
            "SELECT box, digest, sheet, kind, who, marked_at FROM sheet_marks "
            "WHERE number IN (SELECT max(number) FROM sheet_marks WHERE is_mine(fleet) GROUP BY box) ORDER BY box"
        )
        rows = self._read(statement)
        return {row[0]: SheetMark(row[0], row[1], json.loads(row[2]), *row[3:]) for row in rows}

    @_whole
    def sheets_at(self, run_id: str) -> Mapping[str, SheetMark]:
        """What each box was said to hold when a run began: for `--since RUN`."""
        started_at = self.show_run(run_id).start.started_at
        statement = (
            "SELECT box, digest, sheet, kind, who, marked_at FROM sheet_marks WHERE number IN "
            "(SELECT max(number) FROM sheet_marks WHERE is_mine(fleet) AND marked_at <= ? GROUP BY box) ORDER BY box"
        )
        rows = self._read(statement, (started_at,))
        return {row[0]: SheetMark(row[0], row[1], json.loads(row[2]), *row[3:]) for row in rows}

    @_whole
    def inventory_of(self, run_id: str) -> Snapshot | None:
        """The files of the inventory that a run found valid, or None where it did not."""
        statement = "SELECT inventory_digest, recorded_at FROM valid_inventories WHERE run = ?"
        rows = self._read(statement, (self._find(run_id),))
        return Snapshot(rows[0][0], run_id, rows[0][1], self._files(rows[0][0])) if rows else None

    @_whole
    def failing_since(self) -> tuple[FailingSince, ...]:
        """What the last sweep found not as desired, with the first run of each unbroken streak."""
        return find_streaks(self._read)

    @_whole
    def habits(self) -> Mapping[tuple[Any, ...], float]:
        """How long each target usually took to answer in the last sweeps."""
        return find_habits(self._read)

    def check(self) -> None:
        """Read every page (`fleet doctor`). Raises `HistoryError` naming the first fault."""
        found = self._read("PRAGMA integrity_check(1)")[0][0]
        if found != "ok":
            raise HistoryError(f"{self.path}: the history is corrupt: {found}; {rebuild_hint(self.path)}")

    # Journal and plans ---------------------------------------------------------------------------------

    @_whole
    def read_journal_head(self) -> KnownHead | None:
        """Where the journal ends, as far as the history knows."""
        rows = self._read("SELECT number, digest, before_number, before_digest, settled FROM journal_head")
        return KnownHead(Head(*rows[0][:2]), Head(*rows[0][2:4]), bool(rows[0][4])) if rows else None

    def record_journal_head(self, known: KnownHead) -> None:
        """The journal ends here, or will in a moment."""
        row = (*astuple(known.head), *astuple(known.before), known.is_settled)
        with self._writing() as cursor:
            cursor.execute("INSERT OR REPLACE INTO journal_head VALUES (1, ?, ?, ?, ?, ?)", row)

    @_whole
    def read_key(self) -> Concealer:
        """This history's own key, made when first asked for: what is told outside as a digest is keyed with it."""
        with self._writing() as cursor:
            cursor.execute("INSERT OR IGNORE INTO secret_key VALUES (1, ?)", (os.urandom(32),))
            return Concealer(bytes(cursor.execute("SELECT key FROM secret_key").fetchone()[0]))

    def record_origin(self, run_id: str, git_commit: str) -> None:
        """Of which commit the inventory is that the run works on."""
        with self._writing() as cursor:
            values = (git_commit, _number(cursor, run_id))
            cursor.execute("UPDATE runs SET git_commit = ? WHERE number = ?", values)

    def record_plan(self, run_id: str, content: str, *, resumed: str | None = None) -> None:
        """What a run is about to carry out, before it touches anybody; `resumed` is the run that it goes on with."""
        data = content.encode()
        with self._writing() as cursor:
            row = (_number(cursor, run_id), resumed, zlib.compress(data), _digest(data))
            cursor.execute("INSERT INTO run_plans (run, resumed, content, digest) VALUES (?, ?, ?, ?)", row)

    @_whole
    def plan_of(self, run_id: str) -> str | None:
        """The last plan that a run began to carry out; None where it began none."""
        statement = "SELECT content, digest FROM run_plans WHERE run = ? ORDER BY number DESC LIMIT 1"
        rows = self._read(statement, (self._find(run_id),))
        if not rows:
            return None
        data = _unpack(rows[0][0])
        self._compare(data, rows[0][1], f"the plan of the run {run_id!r}")
        return data.decode()

    @_whole
    def last_run_with_plan(self) -> str | None:
        """The newest run that began to carry out a plan."""
        number = self._newest("run_plans")
        rows = self._read("SELECT run_id FROM runs WHERE number = ?", (number,))
        return rows[0][0] if rows else None

    @_whole
    def resumed_by(self, run_id: str) -> str | None:
        """The newest run that went on with this one."""
        statement = (
            "SELECT r.run_id FROM run_plans p JOIN runs r ON r.number = p.run WHERE p.resumed = ? "
            "ORDER BY p.number DESC LIMIT 1"
        )
        rows = self._read(statement, (run_id,))
        return rows[0][0] if rows else None

    @_whole
    def recent_changes(self) -> tuple[tuple[str, bool], ...]:
        """The last runs, of any fleet, that may have changed hosts, and whether each is known to have ended."""
        statement = (
            "SELECT run_id, finished_at IS NOT NULL FROM runs WHERE verb = 'apply' OR playbook != '' "
            "ORDER BY number DESC LIMIT 200"
        )
        return tuple((row[0], bool(row[1])) for row in self._read(statement))

    def claim_plan(self, plan_id: str, run_id: str, used_at: str) -> None:
        """This run uses the saved plan up. Raises `PlanStale` where it was used before: of many, one wins."""
        with self._writing() as cursor:
            known = cursor.execute("SELECT 1 FROM used_plans WHERE plan_id = ?", (plan_id,)).fetchone()
            if known is None:
                row = (plan_id, _number(cursor, run_id), used_at)
                cursor.execute("INSERT INTO used_plans VALUES (?, ?, ?)", row)
        if known is not None:
            raise PlanStale(self.use_of_plan(plan_id) or f"the plan {plan_id} was used before")

    @_whole
    def use_of_plan(self, plan_id: str) -> str | None:
        """When, by whom and by which run a saved plan was used up; None while it was not."""
        statement = (
            "SELECT u.used_at, r.who, r.from_where, r.run_id FROM used_plans u JOIN runs r ON r.number = u.run "
            "WHERE u.plan_id = ?"
        )
        rows = self._read(statement, (plan_id,))
        text = (
            "the plan {0} was applied already, on {1} by {2} on {3} (run {4}); a plan is applied once: make a new one"
        )
        return text.format(plan_id, *rows[0]) if rows else None

    # Inside --------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        """One transaction that takes the write lock at once, so that two writers wait instead of failing."""
        with _mapped(self.path):
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # the first error is the one to tell
                    cursor.execute("ROLLBACK")
                raise

    def _read(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with _mapped(self.path):
            return self._connection.execute(statement, values).fetchall()

    def _find(self, run_id: str) -> int:
        with _mapped(self.path):
            number = _number(self._connection.cursor(), run_id, self.path)
        fleet = self._read("SELECT fleet FROM runs WHERE number = ?", (number,))[0][0]
        if not self._is_mine(fleet):
            theirs = f"of the fleet {fleet!r}" if fleet else "of a list of targets"
            message = f"run {run_id!r} is {theirs}, not of {self._fleet or 'a list'!r}; runs of another fleet are"
            raise HistoryError(f"{self.path}: {message} not compared with; `fleet history` lists them")
        return number

    def _newest(self, table: str) -> int | None:
        statement = f"SELECT max(run) FROM {table} WHERE run IN (SELECT number FROM runs WHERE is_mine(fleet))"  # noqa: S608  a table's name of ours
        found: int | None = self._read(statement)[0][0]
        return found

    def _spans(self, number: int) -> list[tuple[int, int]]:
        return self._read("SELECT first_row, last_row FROM sweeps WHERE run = ? ORDER BY first_row", (number,))

    def _echoes(self, number: int) -> tuple[EchoLine, ...]:
        statement = f"SELECT {tables.ECHO_COLUMNS} FROM echo_results WHERE row BETWEEN ? AND ? ORDER BY row"  # noqa: S608
        return tuple(EchoLine.from_columns(row) for span in self._spans(number) for row in self._read(statement, span))

    def _files(self, inventory_digest: str) -> Mapping[str, bytes]:
        statement = (
            "SELECT s.path, d.digest, d.content FROM snapshots s JOIN documents d ON d.digest = s.document_digest "
            "WHERE s.inventory_digest = ? ORDER BY s.path"
        )
        files = {}
        for path, digest, packed in self._read(statement, (inventory_digest,)):
            files[path] = _unpack(packed)
            self._compare(files[path], digest, f"the stored inventory file {path!r}")
        return files

    def _compare(self, content: bytes, digest: str, what: str) -> None:
        if _digest(content) != digest:
            raise HistoryError(f"{self.path}: {what} is not what was recorded; {rebuild_hint(self.path)}")


def open_history(path: Path, *, create: bool = True, busy_timeout_s: float = BUSY_TIMEOUT_S) -> History:
    """The history at `path`, made when missing.

    Raises `HistoryError` where the file is torn, foreign or newer, where it is gone although its log is there,
    or where it is missing and `create` is false.
    """
    if not path.exists():
        check_absence(path)
        if not create:
            raise HistoryError(f"{path}: there is no history yet; it begins with the first plan, apply, verify or run")
        _create(path)
    check_file(path)
    make_private(path)
    with _mapped(path):
        connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            if path.stat().st_size < QUICK_CHECK_BELOW_BYTES:
                _quick_check(connection, path)
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            _bring_up_to_date(connection)
        except BaseException:
            connection.close()
            raise
    return History(connection, path)


def _quick_check(connection: sqlite3.Connection, path: Path) -> None:
    """A page that is scratched may read as an empty table, so SQLite looks first (2.5 ms a MB)."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found == "ok" and connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
        found = "a row belongs to no run"
    if found != "ok":
        raise HistoryError(f"{path}: the history is torn: {found}; nothing was done. {as_sentence(rebuild_hint(path))}")


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    """A history of an earlier version gets what it lacks, in one transaction; nothing in it is lost."""
    if _version(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version, statements in ((1, tables.FROM_1_TO_2), (2, tables.FROM_2_TO_3)):
            for statement in statements if _version(connection) == version else ():  # unless another was faster
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # the first error is the one to tell
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def _create(path: Path) -> None:
    """Make it whole beside its place, then link it there; whoever was faster has made the one that counts."""
    make_private_folder(path.parent)
    with _mapped(path):
        try:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes it 0600
        except OSError as error:
            raise HistoryError(f"{path}: the history cannot be made: {error.strerror}") from error
        os.close(handle)
        try:
            with closing(sqlite3.connect(name, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(tables.CREATE)
            with suppress(FileExistsError):
                os.link(name, path)
        finally:
            for leftover in (name, f"{name}-wal", f"{name}-shm"):
                Path(leftover).unlink(missing_ok=True)


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    """SQLite's errors in our words."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            message = f"{path}: another fleet has been writing to the history for too long; try again when it is done"
            raise HistoryError(message) from error
        raise HistoryError(f"{path}: the history cannot be used: {error}") from error
    except sqlite3.IntegrityError as error:
        raise HistoryError(f"{path}: the history already holds this, or lacks what it rests on: {error}") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise HistoryError(f"{path}: the history is corrupt: {error}; {rebuild_hint(path)}") from error


def _execute_many(cursor: sqlite3.Cursor, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows; text that is no Unicode (a peer's lone surrogates) is escaped instead of losing the whole run."""
    cursor.execute("SAVEPOINT rows")
    try:
        cursor.executemany(statement, rows)
    except UnicodeEncodeError:
        cursor.execute("ROLLBACK TO rows")
        cursor.executemany(statement, [tuple(_encodable(value) for value in row) for row in rows])
    cursor.execute("RELEASE rows")


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _number(cursor: sqlite3.Cursor, run_id: str, path: Path | None = None) -> int:
    """The number of a run by its id, an unambiguous beginning of it, or `last`."""
    if run_id == "last":
        rows = cursor.execute("SELECT number FROM runs WHERE is_mine(fleet) ORDER BY number DESC LIMIT 1").fetchall()
    else:
        rows = cursor.execute("SELECT number FROM runs WHERE run_id = ?", (run_id,)).fetchall()
    if not rows and run_id:
        statement = "SELECT number FROM runs WHERE substr(run_id, 1, length(?)) = ? LIMIT 2"
        rows = cursor.execute(statement, (run_id, run_id)).fetchall()
    if len(rows) != 1:
        reason = "more than one run begins so" if rows else "there is no such run"
        place = f"{path}: " if path else ""
        raise HistoryError(f"{place}run {run_id!r}: {reason}; `fleet history` lists them")
    number: int = rows[0][0]
    return number


def _run(row: Sequence[Any]) -> StoredRun:
    run_id, verb, started_at, playbook, who, where, ticket, reason, git_commit, digest, argv, *end = row
    words = tuple(json.loads(argv))
    start = RunStart(
        run_id, verb, started_at, playbook, who, where, ticket, reason, git_commit, digest, words, end[3] or ""
    )
    return StoredRun(start, end[0], end[1], json.loads(end[2]))


def _unpack(packed: bytes) -> bytes:
    """What was compressed; nothing where it cannot be read, so that its digest does not fit."""
    try:
        return zlib.decompress(packed)
    except zlib.error:
        return b""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
