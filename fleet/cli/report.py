"""`fleet report`: a page for people, as text."""

import click

from fleet.cli.door import Door, door
from fleet.report.history.opening import open_history
from fleet.report.page import format_page
from fleet.report.palette import COLOR, PLAIN
from fleet.workflow.page import page_of
from fleet.workflow.reading import read_all


@click.command("report")
@door(outputs=("text",), limited=False)
def command(door: Door) -> int:
    """What happened last, what fails since when, which waivers run out, which boxes are open by hand.

    Exit status: 0, or 2 while the inventory is not valid.
    """
    context = door.context()
    with open_history(door.history, create=False) as history:
        reading = read_all(context)
        page = page_of(history, reading, context)
    door.tell(format_page(page, COLOR if door.color else PLAIN))
    return 2 if reading.errors else 0
