"""What is written down as a run goes on: each call is one transaction."""

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from fleet.report.history import tables
from fleet.report.history.database import Database, digest_of, execute_many, find_number
from fleet.report.masking import mask_arguments
from fleet.report.records import AppliedFleet, RunStart, Snapshot
from fleet.report.summary import EchoLine, HostLine, Verdict


class Recording(Database):
    """What a run did and saw."""

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
            number = find_number(cursor, run_id)
            values = (finished_at, exit_status, text, number)
            cursor.execute("UPDATE runs SET finished_at = ?, exit_status = ?, summary = ? WHERE number = ?", values)

    def record_fleet(self, run_id: str, fleet: str) -> None:
        """The run is about this fleet, and so is what is read from now on."""
        with self._writing() as cursor:
            cursor.execute("UPDATE runs SET fleet = ? WHERE number = ?", (fleet, find_number(cursor, run_id)))
        self.concern(fleet)

    def record_origin(self, run_id: str, git_commit: str) -> None:
        """Of which commit the inventory is that the run works on."""
        with self._writing() as cursor:
            values = (git_commit, find_number(cursor, run_id))
            cursor.execute("UPDATE runs SET git_commit = ? WHERE number = ?", values)

    def record_inventory(self, snapshot: Snapshot) -> None:
        """This inventory is valid: its files are kept, each content once."""
        inventory_digest = snapshot.inventory_digest
        with self._writing() as cursor:
            number = find_number(cursor, snapshot.run_id)
            known = "SELECT 1 FROM snapshots WHERE inventory_digest = ? LIMIT 1"
            if cursor.execute(known, (inventory_digest,)).fetchone() is None:
                named = [(path, content, digest_of(content)) for path, content in sorted(snapshot.files.items())]
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
            number = find_number(cursor, run_id)
            rows = [
                (number, line.host, line.outcome, line.phase, line.detail, line.verdict is not Verdict.WRONG)
                for line in lines
            ]
            execute_many(cursor, "INSERT OR REPLACE INTO host_outcomes VALUES (?, ?, ?, ?, ?, ?)", rows)
            changes = [
                (number, line.host, change.path, change.before_digest, change.after_digest)
                for line in lines
                for change in line.files
            ]
            execute_many(cursor, "INSERT OR REPLACE INTO file_changes VALUES (?, ?, ?, ?, ?)", changes)

    def record_echo_results(self, run_id: str, lines: Iterable[EchoLine]) -> None:
        """Results of a sweep, all or a part, in one transaction."""
        rows = [line.columns for line in lines]
        with self._writing() as cursor:
            number = find_number(cursor, run_id)
            last = cursor.execute("SELECT max(row) FROM echo_results").fetchone()[0] or 0
            execute_many(cursor, tables.INSERT_ECHO, rows)
            # A sweep that is recorded in parts stays one span, unless another wrote in between.
            longer = "UPDATE sweeps SET last_row = ? WHERE run = ? AND last_row = ?"
            if rows and not cursor.execute(longer, (last + len(rows), number, last)).rowcount:
                cursor.execute("INSERT INTO sweeps VALUES (?, ?, ?)", (number, last + 1, last + len(rows)))

    def record_applied(self, applied: AppliedFleet) -> None:
        """What the inventory held when it was applied: all its titles and hosts, whatever the run was limited to."""
        text = json.dumps({"titles": sorted(applied.titles), "hosts": sorted(applied.hosts)})
        with self._writing() as cursor:
            number = find_number(cursor, applied.run_id)
            row = (number, applied.applied_at, applied.inventory_digest, text, digest_of(text.encode()))
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
            execute_many(cursor, statement, rows)
