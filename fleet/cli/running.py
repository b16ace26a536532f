"""One run of a verb: book, story, and how its report is told, whatever came of it.

A sweep of a list is a run too, and starts without the story and all that it stands on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import click

from fleet.cli.door import Door
from fleet.cli.net import mask_error
from fleet.cli.status import WRONG_USAGE
from fleet.errors import FleetError, HistoryError, InvalidInventory, UsageError
from fleet.report.alive import hold_run
from fleet.report.history.opening import History, open_history
from fleet.report.machine import format_junit, format_run_json, format_sweep_csv, iter_sweep_json
from fleet.report.palette import COLOR, PLAIN
from fleet.report.summary import RunReport
from fleet.report.text import format_run
from fleet.sheet.safe import safe_lines
from fleet.workflow.context import Context
from fleet.workflow.ledger import Ledger

if TYPE_CHECKING:
    from fleet.workflow.story import Story

CHANGES = ("text", "json", "junit")
OUTPUTS = (*CHANGES, "csv")


class Work(Protocol):
    """What a run is made of: the story, or the sweep of a list."""

    def tell_page(self) -> str:
        """The page for people that a step asked for, or nothing."""


W = TypeVar("W", bound=Work)
OpenWork = Callable[[Context, Ledger, History], AbstractContextManager[W]]


@dataclass(frozen=True, slots=True)
class Telling:
    """What else belongs to a run: its playbook, why it is made, what is done with its report when it is over."""

    playbook: str = ""
    reason: str = ""
    afterwards: Callable[[RunReport], None] | None = None


def tell_run(door: Door, verb: str, act: Callable[[Story], object], telling: Telling | None = None) -> int:
    """Do `act` with the story, print its report in the form that was asked for, and return the exit status."""
    from fleet.cli.opening import open_story  # the story's modules only for who tells one

    return tell_work(door, verb, act, partial(open_story, door), telling)


def tell_work(
    door: Door, verb: str, act: Callable[[W], object], open_work: OpenWork[W], telling: Telling | None = None
) -> int:
    """The same with what `open_work` opens.

    What was done before an error, or before Ctrl-C, is told and recorded too.
    """
    told = telling or Telling()
    context = door.context(reason=told.reason)
    try:
        history = open_history(context.history_file)
    except HistoryError as error:
        now = context.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        report = RunReport(verb, context.run_id, now, now, playbook=told.playbook, failure=str(error))
        return _tell(door, report, error)
    changes = verb == "apply" or told.playbook
    # Held before the run is in the history: whoever finds it there must not take it for one that is over.
    with history, hold_run(history.path, context.run_id) if changes else nullcontext():
        ledger = Ledger(context, history, verb, playbook=told.playbook, argv=_typed())
        report, ended_by, page = _run(context, history, ledger, act, open_work)
        if told.afterwards is not None and ended_by is None:
            try:
                told.afterwards(report)
            except FleetError as raised:
                ended_by, report = raised, replace(report, failure=str(raised))
    return _tell(door, report, ended_by, page)


def _run(
    context: Context,
    history: History,
    ledger: Ledger,
    act: Callable[[W], object],
    open_work: OpenWork[W],
) -> tuple[RunReport, BaseException | None, str]:
    error: BaseException | None = None
    with ledger, open_work(context, ledger, history) as work:
        try:
            act(work)
        except (FleetError, KeyboardInterrupt) as raised:
            error = raised
            mask_error(raised, context.vault.mask)
            if isinstance(raised, InvalidInventory):
                ledger.problems(raised.problems)
        finally:
            close_progress(context)
        report = ledger.finish(error)
        return report, error, work.tell_page()


def close_progress(context: Context) -> None:
    """Take the bars off the terminal, whatever stage they were at: they hide the cursor."""
    close = getattr(context.observer, "close", None)
    if close is not None:
        close()


def _typed() -> tuple[str, ...]:
    """The words of the command line, as `main` got them."""
    words = click.get_current_context().find_root().obj
    return tuple(words) if isinstance(words, list | tuple) else tuple(sys.argv[1:])


def _tell(door: Door, report: RunReport, error: BaseException | None, page: str = "") -> int:
    told_below = isinstance(error, FleetError)
    for piece in tell_report(door, report, sweep=report.verb == "verify", error_is_told=told_below):
        sys.stdout.write(piece)
    if page and door.output == "text" and not (door.quiet and report.exit_status == 0):
        sys.stdout.write("\n" + page)
    if isinstance(error, FleetError):
        print(safe_lines(f"fleet: {error}{_nothing_contacted(error)}"), file=sys.stderr)
    elif error is not None:
        print("fleet: interrupted; what was done until then is told and recorded", file=sys.stderr)
    return WRONG_USAGE if isinstance(error, UsageError) else report.exit_status


def _nothing_contacted(error: FleetError) -> str:
    return "; nothing was contacted" if isinstance(error, InvalidInventory) else ""


def tell_report(door: Door, report: RunReport, *, sweep: bool, error_is_told: bool = False) -> Iterable[str]:
    """The report's text in the form that was asked for, in pieces; people are told an error once, on stderr."""
    if door.output == "json":
        if not sweep:
            return (format_run_json(report),)
        told = (*report.notices, report.failure) if report.failure else report.notices
        return iter_sweep_json(replace(report, notices=told))
    if door.output == "junit":
        return (format_junit(report),)
    if door.output == "csv":
        return (format_sweep_csv(report),)
    palette = COLOR if door.color else PLAIN
    text = format_run(report, palette, verbose=door.verbose, quiet=door.quiet, error_is_told=error_is_told)
    return (text,)
