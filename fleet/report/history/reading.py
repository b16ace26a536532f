"""What was recorded of runs, inventories, hosts and boxes, read back and compared with its digests."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fleet.report.history import tables
from fleet.report.history.database import Database, unpack, whole
from fleet.report.records import AppliedFleet, RunStart, SheetMark, Snapshot, StoredRun
from fleet.report.summary import FileChange, HostLine


class Reading(Database):
    """Earlier runs, and what decisions rest on."""

    @whole
    def list_runs(self, limit: int = 20, *, verb: str | None = None) -> tuple[StoredRun, ...]:
        """The newest runs first."""
        of_verb = " AND (verb = ? OR (? = 'run' AND playbook != ''))"
        where, values = (of_verb, (verb, verb, limit)) if verb else ("", (limit,))
        rows = self._read(f"{tables.SELECT_RUNS} WHERE is_mine(fleet){where} ORDER BY number DESC LIMIT ?", values)
        return tuple(_run(row) for row in rows)

    @whole
    def show_run(self, run_id: str) -> StoredRun:
        """A run by its id, by an unambiguous beginning of it, or `last`. Raises `HistoryError`."""
        return self._stored_run(self._find(run_id))

    def last_run(self, verb: str | None = None) -> StoredRun | None:
        """The newest run, of a verb if one is named."""
        return next(iter(self.list_runs(1, verb=verb)), None)

    @whole
    def verbs(self) -> tuple[str, ...]:
        """The verbs that runs were of, sorted."""
        return tuple(row[0] for row in self._read("SELECT DISTINCT verb FROM runs WHERE is_mine(fleet) ORDER BY verb"))

    @whole
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

    @whole
    def recent_changes(self) -> tuple[tuple[str, bool], ...]:
        """The last runs, of any fleet, that may have changed hosts, and whether each is known to have ended."""
        statement = (
            "SELECT run_id, finished_at IS NOT NULL FROM runs WHERE verb = 'apply' OR playbook != '' "
            "ORDER BY number DESC LIMIT 200"
        )
        return tuple((row[0], bool(row[1])) for row in self._read(statement))

    @whole
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

    @whole
    def inventory_of(self, run_id: str) -> Snapshot | None:
        """The files of the inventory that a run found valid, or None where it did not."""
        statement = "SELECT inventory_digest, recorded_at FROM valid_inventories WHERE run = ?"
        rows = self._read(statement, (self._find(run_id),))
        return Snapshot(rows[0][0], run_id, rows[0][1], self._files(rows[0][0])) if rows else None

    @whole
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

    @whole
    def applied_fleets(self) -> tuple[str, ...]:
        """The names of the fleets that were applied, sorted."""
        statement = (
            "SELECT DISTINCT r.fleet FROM applied a JOIN runs r ON r.number = a.run WHERE r.fleet IS NOT NULL "
            "ORDER BY r.fleet"
        )
        return tuple(row[0] for row in self._read(statement))

    @whole
    def known_hosts(self) -> frozenset[str]:
        """Hosts that were in an inventory that was applied, and were not forgotten since."""
        statement = "SELECT k.host FROM known_hosts k JOIN runs r ON r.number = k.run WHERE is_mine(r.fleet)"
        return frozenset(row[0] for row in self._read(statement))

    @whole
    def sheet_marks(self) -> Mapping[str, SheetMark]:
        """What each box was last said to hold, by title; `fleet.sheet.boxes` decides from them what is open."""
        statement = (
            "SELECT box, digest, sheet, kind, who, marked_at FROM sheet_marks "
            "WHERE number IN (SELECT max(number) FROM sheet_marks WHERE is_mine(fleet) GROUP BY box) ORDER BY box"
        )
        rows = self._read(statement)
        return {row[0]: SheetMark(row[0], row[1], json.loads(row[2]), *row[3:]) for row in rows}

    @whole
    def sheets_at(self, run_id: str) -> Mapping[str, SheetMark]:
        """What each box was said to hold when a run began: for `--since RUN`."""
        started_at = self.show_run(run_id).start.started_at
        statement = (
            "SELECT box, digest, sheet, kind, who, marked_at FROM sheet_marks WHERE number IN "
            "(SELECT max(number) FROM sheet_marks WHERE is_mine(fleet) AND marked_at <= ? GROUP BY box) ORDER BY box"
        )
        rows = self._read(statement, (started_at,))
        return {row[0]: SheetMark(row[0], row[1], json.loads(row[2]), *row[3:]) for row in rows}

    def _files(self, inventory_digest: str) -> Mapping[str, bytes]:
        statement = (
            "SELECT s.path, d.digest, d.content FROM snapshots s JOIN documents d ON d.digest = s.document_digest "
            "WHERE s.inventory_digest = ? ORDER BY s.path"
        )
        files = {}
        for path, digest, packed in self._read(statement, (inventory_digest,)):
            files[path] = unpack(packed)
            self._compare(files[path], digest, f"the stored inventory file {path!r}")
        return files

    def _stored_run(self, number: int) -> StoredRun:
        return _run(self._read(f"{tables.SELECT_RUNS} WHERE number = ?", (number,))[0])


def _run(row: Sequence[Any]) -> StoredRun:
    run_id, verb, started_at, playbook, who, where, ticket, reason, git_commit, digest, argv, *end = row
    words = tuple(json.loads(argv))
    start = RunStart(
        run_id, verb, started_at, playbook, who, where, ticket, reason, git_commit, digest, words, end[3] or ""
    )
    return StoredRun(start, end[0], end[1], json.loads(end[2]))
