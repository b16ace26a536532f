"""What every sweep shares, from an inventory or from a list: how it is asked, recorded as it goes, and compared.

Nothing here knows the inventory, so that a sweep of a list starts without it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleet.report.compare import compare_sweeps, format_comparison
from fleet.report.history.opening import History
from fleet.report.summary import EchoLine
from fleet.verify.settings import Surroundings, SweepSettings
from fleet.verify.sweep import sweep
from fleet.verify.values import EchoResult, EchoTarget, Outcome
from fleet.workflow.ledger import Ledger

CONTROLLER = "controller"


@dataclass(frozen=True, slots=True)
class Asking:
    """From where, how hard, and whether policy is overridden (which is recorded); `hear` gets each result."""

    sources: tuple[str, ...] = (CONTROLLER,)
    override: bool = False
    settings: SweepSettings = field(default_factory=SweepSettings)
    total_s: float | None = None  # tightens every target's total deadline, never loosens it
    stop: Callable[[], bool] | None = None
    hear: Callable[[EchoResult], None] | None = None


@dataclass(frozen=True, slots=True)
class Earlier:
    """The sweep to compare with, and the seconds that each target usually takes."""

    run_id: str
    lines: Sequence[EchoLine]
    habits: Mapping[tuple[object, ...], float]


def ask_directly(
    targets: Sequence[EchoTarget], asking: Asking, finished: Callable[[EchoResult], None]
) -> list[EchoResult]:
    """The sweep from this machine; `finished` hears of each result as it comes."""
    return sweep(targets, asking.settings, on_result=finished, surroundings=Surroundings(stop=asking.stop))


def was_interrupted(results: Iterable[EchoResult]) -> bool:
    """Whether a sweep from here ended before its time: only then does it leave anything `unknown`."""
    unknown = Outcome.UNKNOWN
    return any(result.outcome is unknown for result in results)


def record_as_heard(asking: Asking, ledger: Ledger) -> Asking:
    """Every result goes into the book as it comes; the sweep looks up often enough to record what waits."""

    def stop() -> bool:
        ledger.keep_late_echoes()
        return asking.stop is not None and asking.stop()

    def hear(result: EchoResult) -> None:
        ledger.echo(result)
        ledger.keep_late_echoes()  # hosts answer in bursts, with nobody who looks up in between

    return replace(asking, hear=hear, stop=stop)


def read_earlier(compare: str | None, ledger: Ledger, history: History | None) -> Earlier | None:
    """The sweep to compare with, read before this one is recorded. Raises `HistoryError` for an unknown run."""
    if compare is None or history is None:
        return None
    if compare != "last":
        run_id = history.show_run(compare).run_id
        return Earlier(run_id, history.echo_results(run_id), history.habits())
    last = history.last_sweep()
    if last is None:
        ledger.note("--compare last: this is the first sweep that history has, so there is nothing to compare")
        return None
    return Earlier(last[0].run_id, last[1], history.habits())


def tell_comparison(before: Earlier | None, ledger: Ledger) -> None:
    """What is different since then, as notes of this run."""
    if before is None:
        return
    ledger.keep_echoes()
    compared = compare_sweeps(before.lines, ledger.echo_lines, before.habits)
    ledger.note(*format_comparison(compared, before.run_id).splitlines())
