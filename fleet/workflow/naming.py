"""By the inventory's names: where a caller would call, as the inventory says it."""

from collections.abc import Iterable

from fleet.errors import EmptySelection, did_you_mean
from fleet.inventory.model import Entity
from fleet.inventory.peers import Peer, titles_for
from fleet.secrets.secret import SealedSecret
from fleet.workflow.call import Call
from fleet.workflow.context import Context
from fleet.workflow.reading import Reading
from fleet.workflow.targets import Policy, make_tls, why_unpresentable


def find_call(reading: Reading, context: Context, caller: str, called: str, *, override: bool = False) -> Call:
    """How `caller` calls `called`: by a flow's titles and place, or at the entity's own place.

    Raises `EmptySelection` where a name is unknown, the called entity listens nowhere, or policy spares it now
    (unless `override`).
    """
    inventory = reading.inventory
    entity = inventory.find_entity(called)
    if entity is None:
        raise EmptySelection(_unknown(called, _names(inventory.entities)))
    source = inventory.find_entity(caller)
    askers = {peer.ae_title for peer in (*reading.peers.probers(), *reading.peers.health_checks_of(entity))}
    if source is None and caller not in askers:
        raise EmptySelection(_unknown(caller, [*_names(inventory.entities), *askers]))
    why = Policy(inventory, context.clock(), override=override).why_spared(entity)
    if why:
        raise EmptySelection(f"{entity.ae_title} is spared now: {why}; nothing was asked; --override asks anyway")
    if closed := why_unpresentable(inventory, entity):
        raise SealedSecret(f"{entity.ae_title}: {closed}")
    tls = make_tls(inventory, entity.tls) if entity.tls else None
    peer = _flow_peer(reading, source, entity, called) if source else None
    if source and peer and peer.address and peer.port:
        return Call(peer.address, peer.port, peer.ae_title, _calling(source, caller, peer.services), tls)
    places = reading.peers.destinations_of(entity, source.site if source else entity.site)
    if not places:
        raise EmptySelection(f"{entity.ae_title} does not listen, or nobody knows where; nothing was asked")
    calling = _calling(source, caller, ()) if source else caller
    return Call(*places[0], called if called in entity.titles else entity.ae_title, calling, tls)


def _flow_peer(reading: Reading, source: Entity, entity: Entity, called: str) -> Peer | None:
    """The peer of a flow, under the very title that was typed where the flow has it."""
    peers = [peer for peer in reading.peers.called_by(source) if peer.entity is entity]
    return next((peer for peer in peers if peer.ae_title == called), next(iter(peers), None))


def _calling(source: Entity, typed: str, services: Iterable[str]) -> str:
    """The title as it was typed; for a name, the title that the entity bears in the flow's first service."""
    if typed in source.titles:
        return typed
    borne = (title for service in services for title in titles_for(source, service))
    return next(borne, source.ae_title)


def _names(entities: Iterable[Entity]) -> list[str]:
    return [name for entity in entities for name in (*entity.titles, entity.name)]


def _unknown(name: str, known: Iterable[str]) -> str:
    hint = did_you_mean(name, known) or "; `fleet inventory --list` shows what there is"
    return f"{name!r} is no entity of this inventory{hint}; nothing was asked"
