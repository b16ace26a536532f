"""`fleet apply`: carry out a plan, in batches, until it is done or the budget is spent."""

import sys
from pathlib import Path
from typing import Any

import click

from fleet.cli.door import Door, door
from fleet.cli.limit import tell_limit
from fleet.cli.running import CHANGES, Telling, close_progress, tell_run
from fleet.errors import UsageError
from fleet.inventory.settings import parse_duration
from fleet.plan.batches import FailureBudget, count_canaries, count_serial, parse_percentage
from fleet.report.palette import COLOR, PLAIN
from fleet.report.text import format_hosts, format_plan
from fleet.workflow.changing import Batching, check_window
from fleet.workflow.reading import check_limit
from fleet.workflow.story import Permissions, Story


@click.command("apply")
@door(outputs=CHANGES, contacts=True)
@click.argument("planfile", required=False, type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Only show what would change (the same as `plan`).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--reason", default="", metavar="TEXT", help="Why, or for which ticket; recorded, and no place for secrets."
)
@click.option("--resume", metavar="RUN", help="Go on with a run that was cut off: its id, or `last`.")
@click.option("--adopt", is_flag=True, help="Take over files that no manifest knows; the originals are kept.")
@click.option("--serial", metavar="N|N%", help="So many hosts together; never two members of one group.")
@click.option("--canary", metavar="SEL|N", help="These hosts alone first; a failure among them ends it.")
@click.option("--max-fail", metavar="N|N%", default="0", show_default=True, help="More failed hosts than this end it.")
@click.option(
    "--drain-timeout",
    metavar="TIME",
    default="60s",
    show_default=True,
    help="So long associations of a member may end.",
)
@click.option("--no-drain", is_flag=True, help="Change members of virtual services in service.")
@click.option(
    "--hold-down", metavar="TIME", default="10s", show_default=True, help="How long services must stay up afterwards."
)
@click.option(
    "--confirm-within",
    metavar="TIME",
    default="120s",
    show_default=True,
    help="What is not proven by then undoes itself.",
)
@click.option("--no-confirm", is_flag=True, help="What is done stays: no new login, no C-ECHO, nothing undoes itself.")
@click.option(
    "--wait",
    metavar="TIME",
    default="0s",
    show_default=True,
    help="How long to wait for a host that somebody has locked.",
)
@click.option("--no-way-back", is_flag=True, help="Change hosts too that have no systemd to undo anything.")
@click.option("--allow-removal", type=click.IntRange(0), default=0, metavar="N", help="So many may vanish.")
@click.option("--forget-host", multiple=True, metavar="HOST", help="This host is gone for good; again for more.")
def command(door: Door, planfile: Path | None, resume: str | None, **options: Any) -> int:
    """Carry out what `plan` shows: write beside, check, rename, handlers, look again, and C-ECHO.

    Hosts keep what they had, and put it back by themselves unless fleet confirms over a new connection.
    PLANFILE is a plan that `fleet plan --out` kept: it is carried out once, and only where nothing moved on since.

    Exit status: 0 as desired, 2 a host failed or was not reached, 3 (--check) changes are pending.
    """
    permissions = Permissions(options["adopt"], options["allow_removal"], options["forget_host"])
    _check_words(door, planfile, resume, permissions)
    budget = _budget(options["max_fail"])
    if options["canary"] is not None:
        check_limit(options["canary"], "--canary")
        count_canaries(options["canary"])
    hold_s = _seconds("--hold-down", options["hold_down"])
    within_s = _seconds("--confirm-within", options["confirm_within"])
    wait_s = _seconds("--wait", options["wait"])
    check_window(hold_s, within_s)
    window_s = None if options["no_confirm"] else within_s
    size, canaries = _serial(options["serial"]), options["canary"]
    drain_s = None if options["no_drain"] else _seconds("--drain-timeout", options["drain_timeout"])
    batching = Batching(size, budget, hold_s, window_s, options["no_way_back"], canaries, drain_s, wait_s)
    if not (options["yes"] or options["check"] or sys.stdin.isatty()):
        raise UsageError("nobody is here to ask: give --yes, or --check to only look; nothing was contacted")

    def act(story: Story) -> None:
        tell_limit(door, story)
        held = story.hold_file(planfile) if planfile else story.hold_run(resume) if resume else None
        if held is not None and not options["check"]:
            story.settle(held)
        planned = story.plan(None, permissions, held)
        if options["check"]:
            return
        would_write = planned.pending and not budget.is_spent(len(planned.failures), len(planned.hosts))
        if would_write and not options["yes"] and not _confirm(door, story, len(planned.pending)):
            story.ledger.note("not confirmed: nothing was written")
            return
        story.apply(batching, None, permissions, held)

    return tell_run(door, "apply", act, Telling(reason=options["reason"]))


def _check_words(door: Door, planfile: Path | None, resume: str | None, permissions: Permissions) -> None:
    """A plan that was made holds what may happen: nobody adds to it when it is carried out."""
    if planfile is None and resume is None:
        return
    if planfile is not None and resume is not None:
        raise UsageError("give a plan or --resume, not both; nothing was done")
    what = "a plan" if planfile is not None else "--resume"
    if permissions != Permissions():
        raise UsageError(
            f"{what} has in it what was allowed when it was made: --adopt, --allow-removal and --forget-host are said"
            " to `fleet plan`, where somebody sees what they do; nothing was done"
        )
    if resume is not None and door.limit is not None:
        raise UsageError("--resume goes on with all that is left of a run: leave --limit out; nothing was done")


def _serial(text: str | None) -> int | str | None:
    """A number of hosts or a share of them, looked at before anybody is contacted."""
    size = int(text) if text and text.isascii() and text.isdigit() else text
    count_serial(size, 1)
    return size


def _budget(text: str) -> FailureBudget:
    """A number of failures or a share of all hosts of the run, looked at before anybody is contacted."""
    if text.isascii() and text.isdigit():
        return FailureBudget(max_fail=int(text))
    return FailureBudget(max_fail_percentage=parse_percentage(text, "--max-fail"))


def _seconds(option: str, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no time; write 10s, 2m or 500ms") from None


def _confirm(door: Door, story: Story, hosts: int) -> bool:
    """Nothing is written without a yes, and nobody can say yes to what was not shown."""
    close_progress(story.context)
    report = story.ledger.report
    palette = COLOR if door.color else PLAIN
    print(format_plan(report.diffs, report.plan_counts, palette, report.restarts), end="", file=sys.stderr)
    print(format_hosts(report.all_hosts), end="", file=sys.stderr)
    return click.confirm(f"{hosts} host{'' if hosts == 1 else 's'} would change. Go on?", err=True)
