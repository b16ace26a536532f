"""By the inventory's names: where a caller would call, as the inventory says it."""

from fleet.errors import EmptySelection
from fleet.workflow.reading import Reading


def find_place(reading: Reading, caller: str, called: str) -> tuple[str, int, str]:
    """Address, port and called title as `caller` uses them: a flow's peer, or the entity's own place.

    Raises `EmptySelection` where a name is unknown, or the called entity listens nowhere.
    """
    entity = reading.inventory.find_entity(called)
    source = reading.inventory.find_entity(caller)
    if entity is None:
        raise EmptySelection(f"{called!r} is no entity of this inventory; nothing was asked")
    if source is not None:
        for peer in reading.peers.called_by(source):
            if peer.entity is entity and peer.address and peer.port:
                return peer.address, peer.port, peer.ae_title
    places = reading.peers.destinations_of(entity, source.site if source else entity.site)
    if not places:
        raise EmptySelection(f"{entity.ae_title} does not listen, or nobody knows where; nothing was asked")
    return (*places[0], called if called in entity.titles else entity.ae_title)
