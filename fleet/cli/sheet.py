"""`fleet sheet SEL`: what a person types into a box that we cannot push to; and the firewall's rules."""

import click

from fleet.cli.door import Door, door
from fleet.errors import EmptySelection, UsageError
from fleet.report.history import History, open_history
from fleet.sheet import formats
from fleet.sheet.firewall import make_firewall
from fleet.workflow.boxes import box_statuses, mark_boxes_done
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
    entities = None if selector == "all" else reading.selectors.entities(selector)
    if firewall:
        door.tell(_RULES[door.output](make_firewall(reading.peers, entities)))
        return 0
    with open_history(context.history_file) as history:
        statuses = box_statuses(reading, history, entities, since)
        if not statuses:
            raise EmptySelection(f"{selector!r} selects no box: what runs on hosts of ours is pushed, not typed")
        if done:
            return _mark(door, context, reading, history, selector)
    door.tell(_SHEETS[door.output](statuses))
    return 0


def _mark(door: Door, context: Context, reading: Reading, history: History, selector: str) -> int:
    entities = None if selector == "all" else reading.selectors.entities(selector)
    statuses = box_statuses(reading, history, entities)
    mark_boxes_done(history, context, statuses)
    door.remark(
        f"{len(statuses)} box(es) marked as done by {context.who}: {', '.join(each.sheet.box for each in statuses)}"
    )
    return 0
