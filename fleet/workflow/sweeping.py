"""What every sweep shares, from an inventory or from a list: how it is asked, recorded as it goes, and compared.

Nothing here knows the inventory, so that a sweep of a list starts without it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleet.report.compare import Earlier, Target, compare_sweeps, format_comparison, leave_out_unasked, target_of
from fleet.report.history.opening import History
from fleet.verify.settings import Surroundings, SweepSettings
from fleet.verify.values import EchoResult, EchoTarget, Outcome
from fleet.workflow.context import Context
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
class Comparing:
    """The run to compare with (without one each target's own last), and the seconds that each target usually takes."""

    history: History
    run_id: str | None
    habits: Mapping[Target, float]


def ask_directly(
    targets: Sequence[EchoTarget], asking: Asking, finished: Callable[[EchoResult], None]
) -> list[EchoResult]:
    """The sweep from this machine; `finished` hears of each result as it comes."""
    from fleet.verify.sweep import sweep  # loads the protocol: a change of files begins without

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


def prepare_comparison(compare: str | None, ledger: Ledger, history: History | None) -> Comparing | None:
    """What to compare with, looked up before anybody is asked. Raises `HistoryError` for an unknown run."""
    if compare is None or history is None:
        return None
    if compare != "last":
        return Comparing(history, history.show_run(compare).run_id, history.habits())
    if not history.has_sweeps():
        ledger.note("--compare last: this is the first sweep that history has, so there is nothing to compare")
        return None
    return Comparing(history, None, history.habits())


def tell_comparison(comparing: Comparing | None, ledger: Ledger, context: Context) -> None:
    """What is different since then, as notes of this run; who is missing from a narrowed one is no news."""
    if comparing is None:
        return
    ledger.keep_echoes()
    now = ledger.echo_lines
    if comparing.run_id is not None:
        earlier = Earlier((comparing.run_id,), comparing.history.echo_results(comparing.run_id))
    else:
        asked = {target_of(line) for line in now if not line.is_skipped}
        earlier = comparing.history.find_earlier(context.run_id, asked)
    before = leave_out_unasked((*earlier.beside, *earlier.lines), now, is_narrowed=context.limit is not None)
    ledger.note(*format_comparison(compare_sweeps(before, now, comparing.habits), earlier.runs).splitlines())
