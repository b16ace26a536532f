"""`fleet unlock HOST`: break a lock, after saying whose it is."""

import sys

import click

from fleet.cli.connect import open_connector
from fleet.cli.door import Door, door
from fleet.errors import UsageError
from fleet.inventory.select import find_host
from fleet.push.lock import LockReport, break_lock, observe_lock
from fleet.report.history.opening import open_history
from fleet.workflow.chronicle import record_broken_lock
from fleet.workflow.reading import read_all


@click.command("unlock")
@door(outputs=("text",), limited=False, contacts=True)
@click.argument("host")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--reason", default="", metavar="TEXT", help="Why, or for which ticket; recorded, and no place for secrets."
)
def command(door: Door, host: str, yes: bool, reason: str) -> int:
    """Break the lock on HOST. Whoever held it writes nothing more there; a lock that is left alone runs out by itself.

    A change that waits for its confirmation is not touched: it undoes itself.
    """
    context = door.context(reason=reason)
    inventory = read_all(context).inventory
    known = find_host(inventory, host)
    with open_connector(inventory, door) as connector:
        transport = connector.open_(known, deadline_s=context.connect_deadline_s)
        held = observe_lock(transport, deadline_s=context.observe_deadline_s).lease
        if held is None:
            door.tell(f"{host} is not locked")
            return 0
        door.tell(f"{host} is locked by {held.describe()}{_WORKING if held.is_working else ''}")
        if not yes and not _ask(host):
            door.tell("left as it is")
            return 0
        with open_history(context.history_file) as history:
            record_broken_lock(context, history, inventory.name, (host, held))
        done = break_lock(transport, held.token, deadline_s=context.observe_deadline_s)
    door.tell(_told(host, done))
    return 0 if done.broken else 2


_WORKING = "; a script of theirs runs there right now, and is not stopped by this"


def _ask(host: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"nobody is here to ask: give --yes; the lock on {host} was left as it is")
    return click.confirm("Break it?", err=True)


def _told(host: str, done: LockReport) -> str:
    if not done.broken:
        return f"{host} is no longer locked by them: nothing was broken; look again"
    waits = "; its last change waits to be confirmed, and undoes itself where it is not" if done.armed else ""
    return f"the lock on {host} is broken{waits}"
