"""Images leave for other houses through a relay, which can de-identify them, and by no other way."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Entity
from fleet.inventory.peers import ResolvedFlow
from fleet.validate.context import Context, error

CODES = ("flow-external-storage",)
WAIVABLE = CODES


def check(context: Context) -> Iterator[Problem]:
    """Each pair that stores to an external site, or whose archive there fetches from us (C-MOVE stores back)."""
    external = {site.name for site in context.inventory.sites.values() if site.external}
    if not external:
        return
    for resolved in context.peers.flows:
        if "storage" in resolved.flow.services:
            for receiver in resolved.destinations:
                if receiver.site in external:
                    for sender in resolved.sources_for(receiver):
                        yield from _judge(resolved, sender, receiver)
        if "query-retrieve" in resolved.flow.services:
            for receiver in resolved.sources:
                if receiver.site in external:
                    for sender in resolved.destinations_for(receiver):
                        yield from _judge(resolved, sender, receiver)


def _judge(resolved: ResolvedFlow, sender: Entity, receiver: Entity) -> Iterator[Problem]:
    if "relay" in (sender.kind, sender.engine) or sender.site == receiver.site:
        return
    text = (
        f"{sender.name} ({sender.location}) may store to {receiver.name} ({receiver.location}) at the external site"
        f" {receiver.site}, and is no relay; identified images would leave the house as they are; lead them through a"
        " relay, or waive it with a reason"
    )
    about = (sender.ae_title, receiver.ae_title)
    yield error(CODES[0], text, resolved.flow.at("to"), sender.location, receiver.location, about=about)
