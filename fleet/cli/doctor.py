"""`fleet doctor`: what is installed, what wins, can we reach and log in."""

import json
import os

import click
from click.core import ParameterSource

from fleet.cli.connect import open_connector
from fleet.cli.door import Door, door
from fleet.errors import HistoryError, UnreadableFile
from fleet.inventory.select import find_host
from fleet.report.history.opening import open_history
from fleet.report.text import count_of
from fleet.workflow.context import Context
from fleet.workflow.examining import Finding, examine_here, examine_hosts
from fleet.workflow.reading import Reading, read_all


@click.command("doctor")
@door(contacts=True)
@click.option("--sudoers", metavar="HOST", help="Print the narrowest sudo rule that fleet needs on HOST.")
def command(door: Door, sudoers: str | None) -> int:
    """Look at this machine and, where there is an inventory, log in to its hosts. Changes nothing."""
    context = door.context()
    if sudoers is not None:
        return _print_sudoers(door, read_all(context), sudoers)
    findings = examine_here(os.environ.get("PATH", os.defpath))
    reading = _inventory(context)
    findings += _examine_history(door)
    if reading is None:
        text = f"{door.inventory} is not there: no host was looked at; -i names one, `fleet init` makes one"
        findings.append(Finding("inventory", text))
    elif reading.errors:
        text = f"has {count_of(len(reading.errors), 'error')}: no host was contacted; `fleet validate` shows them"
        findings.append(Finding("inventory", text, False))
    else:
        with open_connector(reading.inventory, door) as connector:
            hosts = reading.hosts(door.selector(reading.inventory.name))
            findings += examine_hosts(context, hosts, connector, reading.inventory)
    if door.output == "json":
        rows = [{"what": each.what, "says": each.says, "good": each.good} for each in findings]
        door.tell(json.dumps({"schema": "fleet.doctor/1", "findings": rows}, indent=1))
    else:
        door.tell("\n".join(_line(finding) for finding in findings if not door.quiet or finding.good is False))
    return 2 if any(finding.good is False for finding in findings) else 0


def _inventory(context: Context) -> Reading | None:
    """The inventory where there is one: doctor helps before there is. One that was named has to be there."""
    try:
        return read_all(context)
    except UnreadableFile:
        if click.get_current_context().get_parameter_source("inventory") is ParameterSource.COMMANDLINE:
            raise
        return None


def _examine_history(door: Door) -> list[Finding]:
    """Whether the history, where there is one, is whole."""
    if not door.history.exists():
        return [Finding("history", f"{door.history} is not there yet: the first run makes it")]
    try:
        with open_history(door.history, create=False) as history:
            history.check()
    except HistoryError as error:
        return [Finding("history", str(error), False)]
    return [Finding("history", f"{door.history} is whole", True)]


def _line(finding: Finding) -> str:
    mark = {True: "ok  ", False: "BAD ", None: "    "}[finding.good]
    return f"{mark}{finding.what:<20} {finding.says}"


def _print_sudoers(door: Door, reading: Reading, name: str) -> int:
    from fleet.push.sudoers import format_sudoers

    host = find_host(reading.inventory, name)
    door.tell(format_sudoers(host))
    return 0
