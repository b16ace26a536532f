"""`fleet validate`: schema, AE titles, cross-checks; no network, no history."""

import json

import click

from fleet.cli.door import Door, door
from fleet.report.palette import COLOR, PLAIN
from fleet.report.text import count_of, format_problems
from fleet.report.validity import format_validity
from fleet.workflow.reading import Reading
from fleet.workflow.rendering import read_with_templates


@click.command("validate")
@door(limited=False)
@click.option("--strict", is_flag=True, help="Warnings count too.")
def command(door: Door, strict: bool) -> int:
    """Check the whole inventory and tell every problem in every file in one go.

    Exit status: 0 valid (warnings or not; with --strict: none), 2 invalid.
    """
    context = door.context()
    reading = read_with_templates(context)
    wrong = bool(reading.errors) or (strict and bool(reading.problems))
    if door.output == "json":
        door.tell(json.dumps(_document(reading, context.vault.unopened), indent=1))
    elif not (door.quiet and not wrong):
        door.tell(format_problems(reading.problems, COLOR if door.color else PLAIN))
        door.tell(format_validity(reading.inventory, reading.problems, strict=strict) + _closed(context.vault.unopened))
    return 2 if wrong else 0


def _closed(number: int) -> str:
    """How much of it was not looked into."""
    if not number:
        return ""
    return f"; {count_of(number, 'secret value')} not opened: no vault password was given"


def _document(reading: Reading, unopened: int) -> dict[str, object]:
    from fleet.report.machine import make_problem  # only where JSON is asked for

    return {
        "schema": "fleet.validate/1",
        "inventory_digest": reading.inventory.digest,
        "valid": not reading.errors,
        "secrets_not_opened": unopened,
        "problems": [make_problem(problem) for problem in reading.problems],
    }
