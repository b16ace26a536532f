"""`fleet verify`: the C-ECHO sweep, from the inventory or from a list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fleet.cli.door import Door, door
from fleet.cli.interrupts import watch_signals
from fleet.cli.running import OUTPUTS, tell_run, tell_work
from fleet.dicom.ae_title import check_ae_title
from fleet.errors import UsageError
from fleet.verify.settings import SweepSettings
from fleet.verify.values import Timeouts
from fleet.workflow.listed import ListedSweep, read_targets
from fleet.workflow.sweeping import Asking

if TYPE_CHECKING:
    from fleet.workflow.story import Story


@click.command("verify")
@door(outputs=OUTPUTS, contacts=True)
@click.option("--targets", type=click.Path(path_type=Path), help="Ask these: ae_title,address,port[,calling] lines.")
@click.option(
    "--from", "sources", multiple=True, metavar="SOURCE", help="controller (default), hosts, or a host's name."
)
@click.option("--drift", is_flag=True, help="Compare the hosts' files with the inventory too.")
@click.option("--override", is_flag=True, help="Ask also what policy, schedules and maintenance spare; recorded.")
@click.option("--calling", default="FLEET_SCU", show_default=True, help="The calling title for --targets.")
@click.option("--max-associations", type=click.IntRange(1, 100_000), default=500, show_default=True, help="In all.")
@click.option(
    "--max-associations-per-host", type=click.IntRange(1, 64), help="At one address; default as the inventory says, 1."
)
@click.option("--pause", metavar="TIME", help="Between two associations to one address; none if it is not given.")
@click.option("--timeout", metavar="TIME", help="Total for a target; never longer than the inventory says.")
@click.option("--repeat", type=click.IntRange(1, 1000), default=1, show_default=True, help="Echoes a target.")
@click.option("--seed", type=int, help="Of the shuffled order.")
@click.option("--compare", metavar="RUN", help="Tell what is different since this run's sweep, or `last`.")
def command(door: Door, targets: Path | None, sources: tuple[str, ...], **options: Any) -> int:
    """Ask every AE whether it answers, and say why not in the standard's terms.

    Exit status: 0 every AE answers, ends as its `accept` allows, or is skipped by policy; 2 one does not, or
    is unknown; 3 (--drift) files differ.
    """
    total_s = None if options["timeout"] is None else _seconds("--timeout", options["timeout"])
    asking = Asking(sources or ("controller",), options["override"], _settings(options), total_s)

    compare = options["compare"]
    _check_usage(door, targets, sources, options)

    def act(story: Story) -> None:
        story.verify(asking, drift=options["drift"], compare=compare)

    def act_on_list(sweep: ListedSweep) -> None:
        times = Timeouts() if total_s is None else replace(Timeouts(), total_s=total_s)
        per_host = options["max_associations_per_host"] or 1
        listed = read_targets(Path(targets or ""), options["calling"], times, per_host)
        if door.limit is not None:
            listed = sweep.failed_among(listed)
        sweep.verify(listed, asking, compare=compare)

    with watch_signals() as stop:
        asking = replace(asking, stop=stop)
        if targets is None:
            return tell_run(door, "verify", act)
        return tell_work(door, "verify", act_on_list, ListedSweep)


def _check_usage(door: Door, targets: Path | None, sources: tuple[str, ...], options: dict[str, Any]) -> None:
    """What does not go together is said before anything is read or contacted."""
    reason = check_ae_title(options["calling"])
    if reason:
        raise UsageError(f"--calling {options['calling']!r}: an AE title {reason}")
    if targets is None:
        if click.get_current_context().get_parameter_source("calling") is ParameterSource.COMMANDLINE:
            raise UsageError("--calling goes with --targets: in an inventory it is `verify.calling` that says it")
        return
    if options["drift"] or sources:
        raise UsageError("--targets needs no inventory: --drift and --from do not go with it")
    if door.limit not in (None, "@failed"):
        raise UsageError(
            f"--limit {door.limit!r}: a selector needs an inventory; with --targets there is only -l @failed, or a"
            " shorter list"
        )


def _settings(options: dict[str, Any]) -> SweepSettings:
    return SweepSettings(
        max_associations=options["max_associations"],
        max_associations_per_host=options["max_associations_per_host"],
        pause_s=0.0 if options["pause"] is None else _seconds("--pause", options["pause"]),
        repeat=options["repeat"],
        seed=options["seed"],
    )


def _seconds(option: str, text: str) -> float:
    from fleet.inventory.settings import parse_duration  # the inventory's modules only where they are needed

    try:
        seconds = parse_duration(text if text[-1:].isalpha() else f"{text}s")
    except ValueError:
        raise UsageError(f"{option} {text!r} is no time; write 10s, 2m or 500ms") from None
    if text.startswith("-"):
        raise UsageError(f"{option} {text!r} is no time; write 10s, 2m or 500ms")
    if option == "--timeout" and seconds <= 0:
        raise UsageError(f"{option} {text!r} leaves no time to answer in; write 10s, 2m or 500ms")
    return seconds
