"""`fleet explain-value NAME.KEY`: where a value came from."""

import json

import click

from fleet.cli.door import Door, door
from fleet.inventory.explain import explain_value, parse_question
from fleet.workflow.reading import read_all


@click.command("explain-value")
@door(limited=False)
@click.argument("question", metavar="NAME.KEY[.KEY]")
def command(door: Door, question: str) -> int:
    """Show which layers said something about a value, the lowest first, and which one holds.

    NAME is a title, an entity's name or a host; NAME@HOST asks of an entity's instance on that host.
    """
    loaded = read_all(door.context()).loaded
    name, path = parse_question(loaded.inventory, question)
    found = explain_value(loaded, name, path)
    if door.output == "json":
        said = [{"layer": layer, "value": value, "location": str(origin.at())} for layer, value, origin in found.said]
        door.tell(json.dumps({"value": found.value, "said": said}, indent=1, default=str))
        return 0
    for number, (layer, value, origin) in enumerate(found.said, start=1):
        holds = "  <- holds" if number == len(found.said) and value == found.value else ""
        where = f"  ({origin.at()})" if origin.document is not None else ""
        door.tell(f"{layer:<9} {_shown(value)}{where}{holds}")
    door.tell(f"{'value':<9} {_shown(found.value)}")
    return 0


def _shown(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
