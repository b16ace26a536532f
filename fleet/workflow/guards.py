"""What is compared with the last applied run of the same fleet before any host is contacted (T19).

A half-empty inventory, or a host that vanished from it, is a slip until somebody says that it is not.
"""

from collections.abc import Collection

from fleet.errors import InvalidInventory, Location, Problem, Severity, did_you_mean
from fleet.inventory.model import Inventory
from fleet.report.history.opening import History
from fleet.validate.removal import CODE, check_removal, check_still_sent
from fleet.workflow.context import Context
from fleet.workflow.kept import open_snapshot


def check_guards(
    inventory: Inventory,
    history: History | None,
    allow_removal: int,
    forget_hosts: Collection[str],
    context: Context,
) -> None:
    """Raise `InvalidInventory` where more vanished than was allowed, a title that others still send to, or a host
    without a word about it."""
    if history is None:
        return
    hosts = frozenset(inventory.hosts)
    problems = []
    before = history.last_applied()
    if before is not None:
        titles = frozenset(title for entity in inventory.entities for title in entity.titles)
        expected = before.hosts - frozenset(forget_hosts)
        problems = check_removal(before.titles, expected, titles, hosts, allow_removal)
        if not problems and before.titles - titles:
            problems = check_still_sent(_senders(history, before.run_id, context), titles, allow_removal)
    gone = sorted(history.known_hosts() - hosts - frozenset(forget_hosts))
    problems += [_host_gone(name) for name in gone]
    if problems:
        raise InvalidInventory(tuple(problems))


def _senders(history: History, run_id: str, context: Context) -> dict[str, set[str]]:
    """Who sent to whom when a run was applied, by the flows of its inventory."""
    snapshot = history.inventory_of(run_id)
    if snapshot is None:
        return {}
    found: dict[str, set[str]] = {}
    with open_snapshot(snapshot, context) as (_, old):
        for flow in old.peers.flows:
            if "storage" not in flow.flow.services:
                continue
            for destination in flow.destinations:
                senders = {title for source in flow.sources_for(destination) for title in source.titles}
                for title in destination.titles:
                    found.setdefault(title, set()).update(senders)
    return found


def unforgotten(history: History | None, forget_hosts: Collection[str]) -> list[str]:
    """A slip in --forget-host is said while it can still be mended."""
    if history is None:
        return []
    known = history.known_hosts()
    text = "--forget-host {0}: history knows no such host of this fleet, so there is nothing to forget{1}"
    return [text.format(name, did_you_mean(name, sorted(known))) for name in forget_hosts if name not in known]


def unguarded(inventory: Inventory, history: History | None) -> list[str]:
    """Said where nothing is compared because only other fleets were applied: a renamed fleet is another one."""
    others = history.applied_fleets() if history is not None else ()
    if history is None or not others or inventory.name in others or history.last_applied() is not None:
        return []
    text = (
        f"the fleet {inventory.name!r} was never applied, so nothing guards it against a removal yet; what was applied"
        f" under another name ({', '.join(others)}) is not compared with it"
    )
    return [text]


def _host_gone(name: str) -> Problem:
    text = (
        f"the host {name} was applied before and is no longer in the inventory; its files and services would stay as"
        f" they are, and nobody would look after them; write it again with `retired: true` and apply, so that they are"
        f" removed, or say --forget-host {name} if the machine is gone for good"
    )
    return Problem(CODE, Severity.ERROR, text, Location("inventory"), subjects=(name,))
