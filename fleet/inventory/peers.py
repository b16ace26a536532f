"""Who talks to whom, under which title, from and to which address: derived once, used by every stage.

Peers are given the virtual address as destination and the instances' addresses as sources. A title of `also`
stands for the main one in the services of its `for`; without `for` it is one more title in all of them.
Probers may verify everybody; a health check's caller may verify the members of its virtual service.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from fleet.errors import EmptySelection
from fleet.inventory.model import Entity, Flow, Inventory, VirtualService
from fleet.inventory.select import Selectors


@dataclass(frozen=True, slots=True)
class Peer:
    """One title that talks to an entity, or that an entity talks to, as seen from that entity's site.

    `sources` are the addresses its associations come from (empty: unknown, as with DHCP); `address` and
    `port` are where it is called (None where it does not listen); `role` is entity, prober or health-check.
    """

    ae_title: str
    services: tuple[str, ...]
    sources: tuple[str, ...]
    address: str | None = None
    port: int | None = None
    role: str = "entity"
    entity: Entity | None = None
    tls: bool = False


@dataclass(frozen=True, slots=True)
class ResolvedFlow:
    """A flow's two sides; with `within_site` only pairs of one site count."""

    flow: Flow
    sources: tuple[Entity, ...]
    destinations: tuple[Entity, ...]

    def sources_for(self, destination: Entity) -> Iterator[Entity]:
        """Who sends to this destination by this flow; nobody sends to itself."""
        for source in self.sources:
            if source is not destination and (not self.flow.within_site or source.site == destination.site):
                yield source

    def destinations_for(self, source: Entity) -> Iterator[Entity]:
        """Whom this source sends to by this flow."""
        for destination in self.destinations:
            if source is not destination and (not self.flow.within_site or source.site == destination.site):
                yield destination


def titles_for(entity: Entity, service: str) -> tuple[str, ...]:
    """The titles that an entity bears in a service, as requestor or acceptor."""
    standing = tuple(further.ae_title for further in entity.also if service in further.services)
    further = tuple(further.ae_title for further in entity.also if not further.services)
    return (*(standing or (entity.ae_title,)), *further)


class Peers:
    """The derived tables of one inventory."""

    def __init__(self, inventory: Inventory, selectors: Selectors | None = None) -> None:
        self.inventory = inventory
        self.selectors = selectors or Selectors(inventory)

    @cached_property
    def flows(self) -> tuple[ResolvedFlow, ...]:
        """Every flow whose selectors select something; the others are a rule's business."""
        resolved = []
        for flow in self.inventory.flows:
            try:
                sides = self.selectors.entities(flow.source), self.selectors.entities(flow.destination)
            except EmptySelection:
                continue
            resolved.append(ResolvedFlow(flow, *sides))
        return tuple(resolved)

    @cached_property
    def _flows_to(self) -> dict[str, list[ResolvedFlow]]:
        found: dict[str, list[ResolvedFlow]] = defaultdict(list)
        for resolved in self.flows:
            for entity in resolved.destinations:
                found[entity.name].append(resolved)
        return found

    @cached_property
    def _flows_from(self) -> dict[str, list[ResolvedFlow]]:
        found: dict[str, list[ResolvedFlow]] = defaultdict(list)
        for resolved in self.flows:
            for entity in resolved.sources:
                found[entity.name].append(resolved)
        return found

    # Addresses -----------------------------------------------------------------------------------------

    @staticmethod
    def sources_of(entity: Entity, seen_from: str) -> tuple[str, ...]:
        """The addresses that an entity's associations come from, as the site `seen_from` sees them."""
        if seen_from in entity.seen_as:
            return (entity.seen_as[seen_from],)
        if entity.instances:
            return tuple(dict.fromkeys(instance.address for instance in entity.instances))
        return (entity.address,) if entity.address and entity.address != "dhcp" else ()

    def destinations_of(self, entity: Entity, seen_from: str) -> tuple[tuple[str, int], ...]:
        """Where an entity is called, as the site `seen_from` sees it: virtual addresses where it has them."""
        if not entity.listens:
            return ()
        services = self.inventory.services_by_entity.get(entity.ae_title, ())
        if services:
            places = tuple((address.address, service.port) for service in services for address in service.addresses)
        elif entity.instances:
            places = tuple((instance.address, instance.port) for instance in entity.instances)
        elif entity.address and entity.address != "dhcp" and entity.port:
            places = ((entity.address, entity.port),)
        else:
            return ()
        if seen_from in entity.seen_as:
            return tuple(dict.fromkeys((entity.seen_as[seen_from], port) for _, port in places))
        return places

    def _peer(self, entity: Entity, title: str, services: Iterable[str], seen_from: str) -> Peer:
        places = self.destinations_of(entity, seen_from)
        further = next((also for also in entity.also if also.ae_title == title), None)
        listens = bool(places) and (further is None or further.listens)
        port = (further.port if further and further.port else places[0][1]) if listens else None
        return Peer(
            ae_title=title,
            services=tuple(sorted(set(services))),
            sources=self.sources_of(entity, seen_from),
            address=places[0][0] if listens else None,
            port=port,
            entity=entity,
            tls=entity.tls is not None,
        )

    # Tables --------------------------------------------------------------------------------------------

    def entity_callers(self, entity: Entity) -> tuple[Peer, ...]:
        """The entities that flows allow to call `entity`, one peer a title, sorted by title."""
        services: dict[tuple[str, str], set[str]] = defaultdict(set)
        entities: dict[str, Entity] = {}
        for resolved in self._flows_to.get(entity.name, ()):
            for source in resolved.sources_for(entity):
                entities[source.name] = source
                for service in resolved.flow.services:
                    for title in titles_for(source, service):
                        services[source.name, title].add(service)
        peers = (self._peer(entities[name], title, found, entity.site) for (name, title), found in services.items())
        return tuple(sorted(peers, key=lambda peer: peer.ae_title))

    def callers_of(self, entity: Entity) -> tuple[Peer, ...]:
        """Everybody who may call `entity`: entities by flows, then health checks, then probers."""
        return (*self.entity_callers(entity), *self.health_checks_of(entity), *self.probers())

    def called_by(self, entity: Entity) -> tuple[Peer, ...]:
        """Whom `entity` may call, one peer a title, sorted by title, as seen from its site."""
        services: dict[tuple[str, str], set[str]] = defaultdict(set)
        entities: dict[str, Entity] = {}
        for resolved in self._flows_from.get(entity.name, ()):
            for destination in resolved.destinations_for(entity):
                entities[destination.name] = destination
                for service in resolved.flow.services:
                    for title in titles_for(destination, service):
                        services[destination.name, title].add(service)
        peers = (self._peer(entities[name], title, found, entity.site) for (name, title), found in services.items())
        return tuple(sorted(peers, key=lambda peer: peer.ae_title))

    def move_destinations_of(self, archive: Entity) -> tuple[Peer, ...]:
        """Where an archive may C-MOVE to: query-retrieve includes storage back to whoever asks."""
        return tuple(peer for peer in self.entity_callers(archive) if "query-retrieve" in peer.services)

    def probers(self) -> tuple[Peer, ...]:
        """Who asks C-ECHO of everybody."""
        return tuple(
            Peer(prober.ae_title, ("verification",), prober.addresses, role="prober")
            for prober in self.inventory.probers
        )

    def health_checks_of(self, entity: Entity) -> tuple[Peer, ...]:
        """The health checks of the virtual services in front of `entity`."""
        return tuple(
            Peer(service.check.calling, ("verification",), self.checkers_of(service), role="health-check")
            for service in self.inventory.services_by_entity.get(entity.ae_title, ())
        )

    def checkers_of(self, service: VirtualService) -> tuple[str, ...]:
        """The addresses that a virtual service's health checks come from."""
        if service.via == "external":
            if service.script is None:
                return ()
            try:
                return tuple(host.address for host in self.selectors.hosts(service.script.where))
            except EmptySelection:
                return ()
        return self.members_of(service)

    def members_of(self, service: VirtualService) -> tuple[str, ...]:
        """The addresses of a virtual service's members."""
        entity = self.inventory.find_entity(service.entity)
        return tuple(instance.address for instance in entity.instances) if entity else ()
