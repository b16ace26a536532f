"""`fleet sheet SEL`: what a person types into a box that we cannot push to; and the firewall's rules."""

import sys
from collections.abc import Sequence

import click

from fleet.cli.door import Door, door
from fleet.errors import EmptySelection, UsageError
from fleet.inventory.model import Entity
from fleet.report.history.opening import History, open_history
from fleet.report.text import count_of
from fleet.sheet import formats
from fleet.sheet.changes import BoxStatus
from fleet.sheet.firewall import make_firewall
from fleet.workflow.boxes import box_statuses, boxes_since, mark_boxes_done
from fleet.workflow.context import Context
from fleet.workflow.reading import Reading, read_valid

_SHEETS = {"text": formats.format_sheets_text, "html": formats.format_sheets_html, "csv": formats.format_sheets_csv}
_RULES = {
    "text": formats.format_firewall_text,
    "html": formats.format_firewall_html,
    "csv": formats.format_firewall_csv,
}


@click.command("sheet")
@door(outputs=("text", "html", "csv"))
@click.argument("selector")
@click.option("--firewall", is_flag=True, help="The firewall rules that the flows of these need, instead.")
@click.option("--since", metavar="RUN", help="What changed since this run.")
@click.option("--done", is_flag=True, help="These boxes now hold what their sheets say.")
def command(door: Door, selector: str, firewall: bool, since: str | None, done: bool) -> int:
    """Print one page a box: its own title and port, each peer's title, address, port, service, TLS."""
    if done and (firewall or since):
        raise UsageError("--done stands alone: it says that the boxes hold their sheets")
    context = door.context()
    reading = read_valid(context)
    entities = _chosen(door, reading, selector)
    if firewall:
        door.tell(_RULES[door.output](make_firewall(reading.peers, entities)))
        return 0
    with open_history(context.history_file) as history:
        history.concern(reading.inventory.name)
        statuses = (
            box_statuses(reading, history, entities)
            if since is None
            else boxes_since(reading, history, entities, since, context)
        )
        if not statuses:
            raise EmptySelection(f"{selector!r} selects no box: what runs on hosts of ours is pushed, not typed")
        if done:
            return _mark(door, context, history, statuses)
    text = _SHEETS[door.output](statuses)
    # Who prints wants a page a box; a terminal would show the form feed as rubbish, or clear itself.
    door.tell(text.replace(formats.PAGE_BREAK, f"{'-' * 72}\n") if sys.stdout.isatty() else text)
    return 0


def _chosen(door: Door, reading: Reading, selector: str) -> tuple[Entity, ...] | None:
    """What both the selector and --limit mean; None for everything."""
    limit = door.selector(reading.inventory.name)
    if selector == "all" and limit is None:
        return None
    found = reading.entities(None if selector == "all" else selector)
    if limit is None:
        return found
    also = {entity.name for entity in reading.entities(limit)}
    chosen = tuple(entity for entity in found if entity.name in also)
    if not chosen:
        raise EmptySelection(f"{selector!r} and --limit {limit!r} have nothing in common; nothing was shown")
    return chosen


def _mark(door: Door, context: Context, history: History, statuses: Sequence[BoxStatus]) -> int:
    mark_boxes_done(history, context, statuses)
    titles = ", ".join(each.sheet.box for each in statuses)
    door.remark(f"{count_of(len(statuses), 'box', 'boxes')} marked as done by {context.who}: {titles}")
    return 0
