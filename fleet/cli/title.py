"""`fleet title SEL`: proposes free AE titles."""

import click

from fleet.cli.door import Door, door
from fleet.errors import UsageError
from fleet.inventory.naming import find_examples, propose_titles
from fleet.workflow.reading import read_all


@click.command("title")
@door(outputs=("text",), limited=False)
@click.argument("selector")
@click.option("-n", "--number", type=click.IntRange(1, 100), default=1, show_default=True, help="How many.")
@click.option("--pattern", help="Instead of fleet.naming.pattern.")
def command(door: Door, selector: str, number: int, pattern: str | None) -> int:
    """Propose free titles for a neighbour of what SELECTOR selects, or for `site=… kind=… modality=…`."""
    context = door.context()
    reading = read_all(context)
    wanted = pattern or (reading.inventory.naming.pattern if reading.inventory.naming else None)
    if wanted is None:
        raise UsageError("no pattern: set fleet.naming.pattern in the inventory, or give --pattern")
    status = 0
    for example in find_examples(reading.inventory, reading.selectors, selector):
        proposal = propose_titles(reading.inventory, wanted, example, context.clock().date(), number)
        for title in proposal.titles:
            door.tell(title)
        if proposal.obstacle:
            door.remark(f"{example.site} {example.kind} {example.modality or ''}: {proposal.obstacle}")
            status = 2
    return status
