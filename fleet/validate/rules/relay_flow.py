"""A relay may store where its routes lead: the destination lists it only through a flow from that very relay."""

from collections.abc import Iterator

from fleet.errors import Location, Problem
from fleet.validate.context import Context, error
from fleet.validate.routes import hops

CODES = ("relay-destination-without-flow",)
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Each destination without a storage flow from its relay."""
    if context.inventory.incomplete:
        return  # the flow may be among what was left out
    allowed: dict[str, set[str]] = {}
    told: set[tuple[Location, str]] = set()
    for hop in hops(context):
        if hop.entity is None or hop.entity is hop.relay:
            continue
        if hop.relay.name not in allowed:
            peers = context.peers.called_by(hop.relay)
            allowed[hop.relay.name] = {peer.entity.name for peer in peers if peer.entity and "storage" in peer.services}
        at = hop.destination.at("ae_title")
        if hop.entity.name not in allowed[hop.relay.name] and (at, hop.entity.name) not in told:
            told.add((at, hop.entity.name))
            text = (
                f"the route {hop.route.name} leads from {hop.relay.name} ({hop.relay.location}) to {hop.entity.name}"
                f" ({hop.entity.location}), and no flow lets that relay store there; the destination would reject it"
                " and the studies wait in the spool; add the flow"
            )
            about = (hop.relay.ae_title, hop.entity.ae_title)
            yield error(CODES[0], text, at, hop.entity.location, about=about)
