"""`fleet history [RUN]`: earlier runs, or one of them in full."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from fleet.cli.door import Door, door
from fleet.errors import EmptySelection, HistoryError, UsageError, did_you_mean
from fleet.report.history.opening import History, open_history
from fleet.report.journal import journal_of, read_alone
from fleet.report.journal_check import check_journal, describe, parse_head
from fleet.report.machine import read_stored_run
from fleet.report.palette import COLOR, PLAIN
from fleet.report.records import StoredRun
from fleet.report.text import format_history, format_stored_run
from fleet.sheet.safe import safe_text


@click.command("history")
@door(limited=False)
@click.argument("run", required=False)
@click.option("-n", "--number", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option("--verb", help="Only runs of this verb.")
@click.option("--head", metavar="N:HASH", help="For `verify`: a line of the journal that you know from elsewhere.")
def command(door: Door, run: str | None, number: int, verb: str | None, head: str | None) -> int:
    """List earlier runs, the newest first, or show RUN (an id, its beginning, or `last`) in full.

    `fleet history verify` looks whether anybody has changed the journal: 0 it is whole, 2 it is not.
    """
    if head is not None and run != "verify":
        raise UsageError("--head goes with `fleet history verify`")
    if run == "verify":
        return _verify(door, head)
    palette = COLOR if door.color else PLAIN
    with open_history(door.history, create=False) as history:
        if run is None:
            runs = history.list_runs(number, verb=verb)
            if verb and not runs:
                raise EmptySelection(_unknown(verb, history.verbs()))
            text = json.dumps([asdict(each) for each in runs], indent=1) if door.output == "json" else None
            door.tell(format_history(runs, palette) if text is None else text)
            return 0
        found = _show(history, run)
        hosts, echoes = history.host_outcomes(found.run_id), history.echo_results(found.run_id)
        if door.output == "json":
            rows = {
                "run": asdict(found),
                "hosts": [asdict(line) for line in hosts],
                "results": [dict(e.row) for e in echoes],
            }
            door.tell(json.dumps(rows, indent=1))
        else:
            door.tell(format_stored_run(found, read_stored_run(found, hosts, echoes), palette))
    return 0


def _show(history: History, run: str) -> StoredRun:
    """The run; a slip in one of the two words that stand for something else is told."""
    try:
        return history.show_run(run)
    except HistoryError as error:
        raise HistoryError(f"{error}{did_you_mean(run, ('verify', 'last'))}") from None


def _verify(door: Door, text: str | None) -> int:
    """Every fault of the journal with its line, and where the chain ends."""
    try:
        witness = parse_head(text) if text is not None else None
    except ValueError as error:
        raise UsageError(f"--head {text!r}: {error}") from None
    path = journal_of(door.history)
    with open_history(door.history, create=False) as history, read_alone(path) as data:
        checked = check_journal(data, history.read_journal_head(), witness)
    if door.output == "json":
        faults = [asdict(fault) for fault in checked.faults]
        rows = {"journal": str(path), "lines": checked.lines, "head": str(checked.head), "faults": faults}
        door.tell(json.dumps({**rows, "remarks": checked.remarks}, indent=1))
    else:
        lines = [f"{path}: {each}" for each in (*checked.faults, *checked.remarks)]
        if not (door.quiet and not checked.faults):
            door.tell("\n".join(safe_text(line) for line in [*lines, f"{path}: {describe(checked)}"]))
    return 2 if checked.faults else 0


def _unknown(verb: str, known: Sequence[str]) -> str:
    verbs = sorted({each.split()[0] for each in known})
    return f"no run of verb {verb!r}; there are runs of {', '.join(verbs) or 'none'}{did_you_mean(verb, verbs)}"
