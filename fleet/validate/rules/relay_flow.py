"""A relay may store where its routes lead: the destination lists it only through a flow from that very relay."""

from collections.abc import Iterator

from fleet.errors import EmptySelection, Location, Problem
from fleet.inventory.model import Entity
from fleet.validate.context import Context, error
from fleet.validate.routes import hops

CODES = ("relay-destination-without-flow",)
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Each destination without a storage flow from its relay."""
    if context.inventory.incomplete:
        return  # the flow may be among what was left out
    allowed: dict[str, set[str]] = {}
    unsure = list(_half_resolved(context))
    told: set[tuple[Location, str]] = set()
    for hop in hops(context):
        if hop.entity is None or hop.entity is hop.relay:
            continue
        if hop.relay.name not in allowed:
            peers = context.peers.called_by(hop.relay)
            allowed[hop.relay.name] = {peer.entity.name for peer in peers if peer.entity and "storage" in peer.services}
        at = hop.destination.at("ae_title")
        if hop.entity.name in allowed[hop.relay.name] or (at, hop.entity.name) in told:
            continue
        if not any(_may_join(sides, hop.relay, hop.entity) for sides in unsure):
            told.add((at, hop.entity.name))
            text = (
                f"the route {hop.route.name} leads from {hop.relay.name} ({hop.relay.location}) to {hop.entity.name}"
                f" ({hop.entity.location}), and no flow lets that relay store there; the destination would reject it"
                " and the studies wait in the spool; add the flow"
            )
            about = (hop.relay.ae_title, hop.entity.ae_title)
            yield error(CODES[0], text, at, hop.entity.location, about=about)


_Side = tuple[Entity, ...] | None  # None: its selector selects nothing, which is told; anybody may have been meant


def _half_resolved(context: Context) -> Iterator[tuple[_Side, _Side]]:
    """Storage flows with a side that selects nothing."""
    for flow in context.inventory.flows:
        if "storage" in flow.services:
            sides = (_select(context, flow.source), _select(context, flow.destination))
            if None in sides:
                yield sides


def _select(context: Context, text: str) -> _Side:
    """Whom a selector means; None where a word of it means nobody."""
    try:
        return context.selectors.entities(text)
    except EmptySelection:
        return None


def _may_join(sides: tuple[_Side, _Side], relay: Entity, destination: Entity) -> bool:
    """Whether the flow that was meant may be from this relay to this destination."""
    sources, destinations = sides
    return (sources is None or any(each is relay for each in sources)) and (
        destinations is None or any(each is destination for each in destinations)
    )
