"""The end of the journal, the plans that runs carried out, and the saved ones that were used up."""

import os
import zlib
from dataclasses import astuple
from typing import Final

from fleet.errors import PlanStale
from fleet.plan.conceal import Concealer
from fleet.report.history.database import Database, digest_of, find_number, unpack, whole
from fleet.report.journal import Head, KnownHead

_RESUMED_BY: Final = """
SELECT r.run_id FROM run_plans p JOIN runs r ON r.number = p.run WHERE p.resumed = ? ORDER BY p.number DESC LIMIT 1
"""


class Plans(Database):
    """What a run that was cut off can be resumed from, and what a saved plan was used for."""

    @whole
    def read_journal_head(self) -> KnownHead | None:
        """Where the journal ends, as far as the history knows."""
        rows = self._read("SELECT number, digest, before_number, before_digest, settled FROM journal_head")
        return KnownHead(Head(*rows[0][:2]), Head(*rows[0][2:4]), bool(rows[0][4])) if rows else None

    def record_journal_head(self, known: KnownHead) -> None:
        """The journal ends here, or will in a moment."""
        row = (*astuple(known.head), *astuple(known.before), known.is_settled)
        with self._writing() as cursor:
            cursor.execute("INSERT OR REPLACE INTO journal_head VALUES (1, ?, ?, ?, ?, ?)", row)

    @whole
    def read_key(self) -> Concealer:
        """This history's own key, made when first asked for: what is told outside as a digest is keyed with it."""
        with self._writing() as cursor:
            cursor.execute("INSERT OR IGNORE INTO secret_key VALUES (1, ?)", (os.urandom(32),))
            return Concealer(bytes(cursor.execute("SELECT key FROM secret_key").fetchone()[0]))

    def record_plan(self, run_id: str, content: str, *, resumed: str | None = None) -> None:
        """What a run is about to carry out, before it touches anybody; `resumed` is the run that it goes on with.

        Raises `PlanStale` where somebody else goes on with that one already: of many, one wins.
        """
        data = content.encode()
        with self._writing() as cursor:
            later = resumed and cursor.execute(_RESUMED_BY, (resumed,)).fetchone()
            if later:
                raise PlanStale(
                    f"the run {resumed} is gone on with already, by the run {later[0]}; nothing was written. When that"
                    " has ended, `--resume last` goes on with what it left"
                )
            row = (find_number(cursor, run_id), resumed, zlib.compress(data), digest_of(data))
            cursor.execute("INSERT INTO run_plans (run, resumed, content, digest) VALUES (?, ?, ?, ?)", row)

    @whole
    def plan_of(self, run_id: str) -> str | None:
        """The last plan that a run began to carry out; None where it began none."""
        statement = "SELECT content, digest FROM run_plans WHERE run = ? ORDER BY number DESC LIMIT 1"
        rows = self._read(statement, (self._find(run_id),))
        if not rows:
            return None
        data = unpack(rows[0][0])
        self._compare(data, rows[0][1], f"the plan of the run {run_id!r}")
        return data.decode()

    @whole
    def last_run_with_plan(self) -> str | None:
        """The newest run that began to carry out a plan."""
        number = self._newest("run_plans")
        rows = self._read("SELECT run_id FROM runs WHERE number = ?", (number,))
        return rows[0][0] if rows else None

    @whole
    def resumed_by(self, run_id: str) -> str | None:
        """The newest run that went on with this one."""
        rows = self._read(_RESUMED_BY, (run_id,))
        return rows[0][0] if rows else None

    def claim_plan(self, plan_id: str, run_id: str, used_at: str) -> None:
        """This run uses the saved plan up. Raises `PlanStale` where it was used before: of many, one wins."""
        with self._writing() as cursor:
            known = cursor.execute("SELECT 1 FROM used_plans WHERE plan_id = ?", (plan_id,)).fetchone()
            if known is None:
                row = (plan_id, find_number(cursor, run_id), used_at)
                cursor.execute("INSERT INTO used_plans VALUES (?, ?, ?)", row)
        if known is not None:
            raise PlanStale(self.use_of_plan(plan_id) or f"the plan {plan_id} was used before")

    @whole
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
