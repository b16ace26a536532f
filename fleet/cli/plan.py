"""`fleet plan`: what would change, and which boxes a person has to change; changes nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fleet.cli.door import Door, door
from fleet.cli.limit import tell_limit
from fleet.cli.running import CHANGES, Telling, tell_report, tell_run
from fleet.errors import HistoryError, UsageError
from fleet.plan.conceal import Concealer
from fleet.plan.saved import SavedPlan, format_saved_plan
from fleet.report.history.opening import open_history
from fleet.report.machine import make_run, read_run
from fleet.report.summary import RunReport
from fleet.workflow.changing import Planned
from fleet.workflow.plan_file import check_plan_place, check_seal, read_plan_file, write_plan_file
from fleet.workflow.story import Permissions, Story


@click.command("plan")
@door(outputs=CHANGES, contacts=True)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Keep the plan, for `fleet apply FILE`.")
@click.option("--show", type=click.Path(path_type=Path), metavar="FILE", help="Show a plan that was kept, and no more.")
@click.option("--adopt", is_flag=True, help="Show files at our paths that no manifest knows as taken over.")
@click.option("--allow-removal", type=click.IntRange(0), default=0, metavar="N", help="So many may vanish.")
@click.option("--forget-host", multiple=True, metavar="HOST", help="This host is gone for good; again for more.")
def command(door: Door, out: Path | None, show: Path | None, **options: Any) -> int:
    """Read the hosts and show what would change as a diff, equal diffs folded.

    Exit status: 0 nothing to change, 2 something is wrong, 3 changes to hosts are pending (boxes by hand do
    not count). --show: 0 it is shown, 2 it is no plan as fleet wrote it.
    """
    permissions = Permissions(options["adopt"], options["allow_removal"], options["forget_host"])
    if show is not None:
        if out is not None or door.limit or permissions != Permissions():
            raise UsageError("--show FILE shows a plan as it was made; it goes with no option that would make another")
        return _show(door, show)
    if out is None:
        return tell_run(door, "plan", lambda story: _plan(door, story, permissions))
    check_plan_place(out)
    made: list[tuple[SavedPlan, Concealer | None]] = []

    def keep(report: RunReport) -> None:
        for saved, concealer in made:
            write_plan_file(out, format_saved_plan(replace(saved, report=make_run(report)), concealer))
            door.remark(f"the plan is kept in {out}; `fleet apply {out}` carries it out, once")

    def act(story: Story) -> None:
        made.append((story.save(_plan(door, story, permissions), permissions), story.read_concealer()))

    return tell_run(door, "plan", act, Telling(afterwards=keep))


def _plan(door: Door, story: Story, permissions: Permissions) -> Planned:
    tell_limit(door, story)
    return story.plan(None, permissions)


def _show(door: Door, path: Path) -> int:
    saved = read_plan_file(path)
    _compare_seal(door, saved, path)
    report = read_run(saved.report)
    for piece in tell_report(door, report, sweep=False):
        door.tell(piece)
    return 0


def _compare_seal(door: Door, saved: SavedPlan, path: Path) -> None:
    """Who reviews a plan has to see what it does: the history that made it tells, elsewhere nobody can."""
    try:
        with open_history(door.history, create=False) as history:
            concealer = history.read_key()
    except HistoryError:
        concealer = None
    if concealer is None or concealer.key_id != saved.key_id:
        door.remark("made with another history than this one, so nobody can tell here whether it was edited")
    else:
        check_seal(saved, concealer, path)
