"""What templates see: plain frozen values, documented in docs/templates.md, without positions and methods.

A template of a team's may be mistaken or worse; what it is handed holds no way back to the inventory's files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.inventory.model import Entity, Host, Instance, Inventory, VirtualService
from fleet.inventory.peers import Peer, Peers
from fleet.render.slots import seal


@dataclass(frozen=True, slots=True)
class HostView:
    """A host: `vars` are its own, merged from fleet, site and host."""

    name: str
    address: str
    site: str
    labels: Mapping[str, str]
    vars: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One process of an entity on a host of ours."""

    host: str
    address: str
    port: int
    vars: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EntityView:
    """An Application Entity."""

    ae_title: str
    name: str
    kind: str
    site: str
    address: str | None
    port: int | None
    listens: bool
    modality: str | None
    provides: tuple[str, ...]
    engine: str
    description: str
    contact: str
    labels: Mapping[str, str]
    vars: Mapping[str, Any]
    instances: tuple[InstanceView, ...]
    titles: tuple[str, ...]
    tls: bool


@dataclass(frozen=True, slots=True)
class PeerView:
    """Somebody who talks to an entity, or whom an entity talks to, as seen from that entity's site."""

    ae_title: str
    services: tuple[str, ...]
    sources: tuple[str, ...]
    address: str | None
    port: int | None
    role: str
    tls: bool
    entity: EntityView | None


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A virtual service."""

    name: str
    ae_title: str
    addresses: tuple[str, ...]
    port: int
    mode: str
    via: str
    members: tuple[str, ...]


class FleetView:
    """The whole fleet: lists are made on the first question, since most templates ask few."""

    def __init__(self, inventory: Inventory, peers: Peers) -> None:
        self._inventory = inventory
        self._peers = peers
        self._entities = {entity.name: make_entity_view(entity) for entity in inventory.entities}
        self._source = {entity.name: entity for entity in inventory.entities}
        self._callers: dict[str, tuple[PeerView, ...]] = {}
        self._called: dict[str, tuple[PeerView, ...]] = {}

    @property
    def entities(self) -> tuple[EntityView, ...]:
        """Every entity, in the order of the files."""
        return tuple(self._entities.values())

    @property
    def hosts(self) -> tuple[HostView, ...]:
        """Every host that is not retired."""
        return tuple(make_host_view(host) for host in self._inventory.hosts.values() if not host.retired)

    @property
    def virtual_services(self) -> tuple[ServiceView, ...]:
        """Every virtual service."""
        return tuple(make_service_view(service, self._peers) for service in self._inventory.virtual_services)

    def on_host(self, name: str) -> tuple[EntityView, ...]:
        """The entities that run on a host."""
        pairs = self._inventory.instances_by_host.get(name, ())
        return tuple({entity.name: self._entities[entity.name] for entity, _ in pairs}.values())

    def callers(self, entity: EntityView) -> tuple[PeerView, ...]:
        """Who may call an entity: other entities by flows, health checks, probers."""
        found = self._callers.get(entity.name)
        if found is None:
            source = self._peers.callers_of(self._source[entity.name])
            found = self._callers[entity.name] = tuple(self._peer(peer) for peer in source)
        return found

    def called(self, entity: EntityView) -> tuple[PeerView, ...]:
        """Whom an entity may call."""
        found = self._called.get(entity.name)
        if found is None:
            source = self._peers.called_by(self._source[entity.name])
            found = self._called[entity.name] = tuple(self._peer(peer) for peer in source)
        return found

    def _peer(self, peer: Peer) -> PeerView:
        entity = self._entities.get(peer.entity.name) if peer.entity else None
        return PeerView(
            peer.ae_title, peer.services, peer.sources, peer.address, peer.port, peer.role, peer.tls, entity
        )


def make_fleet_view(inventory: Inventory, peers: Peers) -> FleetView:
    """The fleet for a team's templates."""
    return FleetView(inventory, peers)


def make_host_view(host: Host) -> HostView:
    """A host for templates."""
    return HostView(host.name, host.address, host.site, seal(host.labels), seal(host.vars))


def make_instance_view(instance: Instance) -> InstanceView:
    """An instance for templates."""
    return InstanceView(instance.host, instance.address, instance.port, seal(instance.vars))


def make_entity_view(entity: Entity) -> EntityView:
    """An entity for templates."""
    return EntityView(
        ae_title=entity.ae_title,
        name=entity.name,
        kind=entity.kind,
        site=entity.site,
        address=entity.address,
        port=entity.port,
        listens=entity.listens,
        modality=entity.modality,
        provides=entity.provides,
        engine=entity.engine,
        description=entity.description,
        contact=entity.contact,
        labels=seal(entity.labels),
        vars=seal(entity.vars),
        instances=tuple(make_instance_view(instance) for instance in entity.instances),
        titles=entity.titles,
        tls=entity.tls is not None,
    )


def make_service_view(service: VirtualService, peers: Peers) -> ServiceView:
    """A virtual service for templates."""
    entity = peers.inventory.find_entity(service.entity)
    return ServiceView(
        service.name,
        entity.ae_title if entity else service.entity,
        tuple(address.address for address in service.addresses),
        service.port,
        service.mode,
        service.via,
        peers.members_of(service),
    )
