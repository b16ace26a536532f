"""What earlier sweeps found: their results, who failed, since when, and how long each usually took."""

from collections.abc import Collection, Mapping
from typing import Any

from fleet.errors import HistoryError
from fleet.report.compare import Earlier, Target
from fleet.report.history import tables
from fleet.report.history.database import whole
from fleet.report.history.earlier import find_earlier
from fleet.report.history.habit import find_habits
from fleet.report.history.reading import Reading
from fleet.report.history.streaks import find_streaks
from fleet.report.records import FailingSince, StoredRun
from fleet.report.summary import EchoLine


class Sweeps(Reading):
    """Results of echoes, in the order they were recorded."""

    @whole
    def last_sweep(self) -> tuple[StoredRun, tuple[EchoLine, ...]] | None:
        """The newest run that asked anybody, with its results."""
        number = self._newest("sweeps")
        if number is None:
            return None
        return self._stored_run(number), self._echoes(number)

    @whole
    def echo_results(self, run_id: str) -> tuple[EchoLine, ...]:
        """The results of a run, in the order they were recorded."""
        return self._echoes(self._find(run_id))

    @whole
    def has_sweeps(self) -> bool:
        """Whether any run asked anybody."""
        return self._newest("sweeps") is not None

    @whole
    def find_earlier(self, run_id: str, wanted: Collection[Target]) -> Earlier:
        """How each of these targets ended when it was last asked before this run."""
        return find_earlier(self._read, run_id, wanted)

    @whole
    def failed_names(self, run_id: str | None = None) -> tuple[str, ...]:
        """Titles and hosts that were not as desired, sorted: in a run, or in the last that touched the network."""
        number = self._find(run_id) if run_id else self._last_that_touched()
        if not number:
            raise HistoryError(f"{self.path}: no run here asked or changed anything yet, so @failed means nothing")
        statement = "SELECT host FROM host_outcomes WHERE run = ? AND NOT as_desired"
        names = {row[0] for row in self._read(statement, (number,))}
        for first, last in self._spans(number):
            statement = "SELECT ae_title FROM echo_results WHERE as_desired = 0 AND row BETWEEN ? AND ?"
            names |= {row[0] for row in self._read(statement, (first, last))}
        return tuple(sorted(names))

    @whole
    def describe_cut_off(self) -> str | None:
        """What to know of the run that `@failed` is of, where its end was never recorded."""
        number = self._last_that_touched()
        run = self._stored_run(number) if number else None
        if run is None or run.finished_at is not None:
            return None
        return (
            f"@failed: the run {run.run_id} was cut off, or still goes on; whom it had not heard of is not among its"
            " failures"
        )

    def _last_that_touched(self) -> int:
        return max(self._newest("sweeps") or 0, self._newest("host_outcomes") or 0)

    @whole
    def failing_since(self) -> tuple[FailingSince, ...]:
        """What the last sweep found not as desired, with the first run of each unbroken streak."""
        return find_streaks(self._read)

    @whole
    def habits(self) -> Mapping[tuple[Any, ...], float]:
        """How long each target usually took to answer in the last sweeps."""
        return find_habits(self._read)

    def _spans(self, number: int) -> list[tuple[int, int]]:
        return self._read("SELECT first_row, last_row FROM sweeps WHERE run = ? ORDER BY first_row", (number,))

    def _echoes(self, number: int) -> tuple[EchoLine, ...]:
        statement = f"SELECT {tables.ECHO_COLUMNS} FROM echo_results WHERE row BETWEEN ? AND ? ORDER BY row"  # noqa: S608
        return tuple(EchoLine.from_columns(row) for span in self._spans(number) for row in self._read(statement, span))
