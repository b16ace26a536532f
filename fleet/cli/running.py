"""One run of a verb: book, story, and how its report is told, whatever came of it."""

import sys
from collections.abc import Callable, Iterable

from fleet.cli.connect import open_connector
from fleet.cli.door import Door
from fleet.errors import FleetError, InvalidInventory
from fleet.report.history import open_history
from fleet.report.machine import format_junit, format_run_json, format_sweep_csv, iter_sweep_json
from fleet.report.palette import COLOR, PLAIN
from fleet.report.summary import RunReport
from fleet.report.text import format_run
from fleet.workflow.context import Context
from fleet.workflow.ledger import Ledger
from fleet.workflow.story import Story

OUTPUTS = ("text", "json", "junit", "csv")


def tell_run(
    door: Door, verb: str, act: Callable[[Story], None], *, context: Context | None = None, playbook: str = ""
) -> int:
    """Do `act`, print its report in the form that was asked for, and return the exit status.

    What was done before an error is told and recorded too.
    """
    context = context or door.context()
    with open_history(context.history_file) as history:
        ledger = Ledger(context, history, verb, playbook=playbook, argv=tuple(sys.argv[1:]))
        error: FleetError | None = None
        with ledger, Story(context, ledger, history, open_connector) as story:
            try:
                act(story)
            except FleetError as raised:
                error = raised
                if isinstance(raised, InvalidInventory):
                    ledger.problems(raised.problems)
            report = ledger.finish(error)
    for piece in tell_report(door, report, sweep=verb == "verify"):
        sys.stdout.write(piece)
    if error is not None:
        print(f"fleet: {error}{_nothing_contacted(error)}", file=sys.stderr)
    return report.exit_status


def _nothing_contacted(error: FleetError) -> str:
    return "; nothing was contacted" if isinstance(error, InvalidInventory) else ""


def tell_report(door: Door, report: RunReport, *, sweep: bool) -> Iterable[str]:
    """The report's text in the form that was asked for, in pieces."""
    if door.output == "json":
        return iter_sweep_json(report) if sweep else (format_run_json(report),)
    if door.output == "junit":
        return (format_junit(report),)
    if door.output == "csv":
        return (format_sweep_csv(report),)
    return (format_run(report, COLOR if door.color else PLAIN, verbose=door.verbose, quiet=door.quiet),)
