"""Who talks to whom, under which title, from and to which address: derived once, used by every stage.

Peers are given the virtual address as destination and the instances' addresses as sources. A title of `also`
stands for the main one in the services of its `for`; without `for` it is one more title in all of them.
Query-retrieve includes storage back: the archive calls whoever asks, under the title that stands for storage.
Probers may verify everybody; a health check's caller may verify the members of its virtual service.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
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
    _sources_by_site: Mapping[str, list[Entity]] = field(default_factory=dict, repr=False, compare=False)
    _destinations_by_site: Mapping[str, list[Entity]] = field(default_factory=dict, repr=False, compare=False)

    def sources_for(self, destination: Entity) -> Iterator[Entity]:
        """Who sends to this destination by this flow; nobody sends to itself."""
        near = self._sources_by_site.get(destination.site, ()) if self.flow.within_site else self.sources
        return (source for source in near if source is not destination)

    def destinations_for(self, source: Entity) -> Iterator[Entity]:
        """Whom this source sends to by this flow."""
        near = self._destinations_by_site.get(source.site, ()) if self.flow.within_site else self.destinations
        return (destination for destination in near if destination is not source)


def resolve_flow(flow: Flow, selectors: Selectors) -> ResolvedFlow:
    """A flow with both sides selected. Raises `EmptySelection`."""
    sources, destinations = selectors.entities(flow.source), selectors.entities(flow.destination)
    return ResolvedFlow(flow, sources, destinations, _by_site(sources), _by_site(destinations))


def _by_site(entities: tuple[Entity, ...]) -> Mapping[str, list[Entity]]:
    found: dict[str, list[Entity]] = defaultdict(list)
    for entity in entities:
        found[entity.site].append(entity)
    return found


def titles_for(entity: Entity, service: str, *, called: bool = False) -> tuple[str, ...]:
    """The titles that an entity bears in a service, as requestor or (`called`) as acceptor.

    What does not listen is never called: its stand-in is, or nobody.
    """
    usable = [further for further in entity.also if further.listens or not called]
    standing = tuple(further.ae_title for further in usable if service in further.services)
    more = tuple(further.ae_title for further in usable if not further.services)
    main = (entity.ae_title,) if entity.listens or not called else ()
    return (*(standing or main), *more)


class Peers:
    """The derived tables of one inventory."""

    def __init__(self, inventory: Inventory, selectors: Selectors | None = None) -> None:
        self.inventory = inventory
        self.selectors = selectors or Selectors(inventory)
        self._entity_callers: dict[str, tuple[Peer, ...]] = {}

    @cached_property
    def flows(self) -> tuple[ResolvedFlow, ...]:
        """Every flow whose selectors select something; the others are a rule's business."""
        resolved = []
        for flow in self.inventory.flows:
            with suppress(EmptySelection):
                resolved.append(resolve_flow(flow, self.selectors))
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
            # An instance on a host that there is not has no address: the rules tell the host, and nothing else.
            return tuple(dict.fromkeys(each.address for each in entity.instances if each.address))
        return (entity.address,) if entity.address and entity.address != "dhcp" else ()

    def destinations_of(self, entity: Entity, seen_from: str) -> tuple[tuple[str, int], ...]:
        """Where an entity is called, as the site `seen_from` sees it: virtual addresses where it has them."""
        if not entity.listens:
            return ()
        services = self.inventory.services_by_entity.get(entity.ae_title, ())
        if services:
            places = tuple((address, service.port) for service in services for address in _addresses_of(service))
        elif entity.instances:
            places = tuple((each.address, each.port) for each in entity.instances if each.address)
        elif entity.address and entity.address != "dhcp" and entity.port:
            places = ((entity.address, (entity.tls.port if entity.tls else None) or entity.port),)
        else:
            return ()
        if seen_from in entity.seen_as:
            return tuple(dict.fromkeys((entity.seen_as[seen_from], port) for _, port in places))
        return places

    def _peer(self, entity: Entity, title: str, services: Iterable[str], seen_from: str) -> Peer:
        place = self._place_of(entity, title, seen_from)
        return Peer(
            ae_title=title,
            services=tuple(sorted(set(services))),
            sources=self.sources_of(entity, seen_from),
            address=place[0] if place else None,
            port=place[1] if place else None,
            entity=entity,
            tls=entity.tls is not None,
        )

    def _place_of(self, entity: Entity, title: str, seen_from: str) -> tuple[str, int] | None:
        """Where a title is called: the first place of its entity, on the title's own port where it has one."""
        further = next((also for also in entity.also if also.ae_title == title), None)
        places = self.destinations_of(entity, seen_from)
        if further is None:
            return places[0] if places else None
        if not further.listens:
            return None
        address = places[0][0] if places else next(iter(self.sources_of(entity, seen_from)), None)
        port = further.port or (places[0][1] if places else None)
        return (address, port) if address and port else None

    # Tables --------------------------------------------------------------------------------------------

    def _callers(self, entity: Entity) -> Iterator[tuple[Entity, str]]:
        """Who may call `entity`, in which service: by flows to it, and by its own queries' way back."""
        for resolved in self._flows_to.get(entity.name, ()):
            for source in resolved.sources_for(entity):
                yield from ((source, service) for service in resolved.flow.services)
        for resolved in self._queries_from(entity):
            yield from ((archive, "storage") for archive in resolved.destinations_for(entity))

    def _called(self, entity: Entity) -> Iterator[tuple[Entity, str]]:
        """Whom `entity` may call, in which service."""
        for resolved in self._flows_from.get(entity.name, ()):
            for destination in resolved.destinations_for(entity):
                yield from ((destination, service) for service in resolved.flow.services)
        for resolved in self._flows_to.get(entity.name, ()):
            if "query-retrieve" in resolved.flow.services:
                yield from ((source, "storage") for source in resolved.sources_for(entity))

    def _queries_from(self, entity: Entity) -> Iterator[ResolvedFlow]:
        """The flows by which an entity that can be called back queries archives (C-MOVE, PS3.4 C.4.2)."""
        if titles_for(entity, "storage", called=True):
            found = self._flows_from.get(entity.name, ())
            yield from (resolved for resolved in found if "query-retrieve" in resolved.flow.services)

    def _table(self, pairs: Iterable[tuple[Entity, str]], seen_from: str, *, called: bool) -> tuple[Peer, ...]:
        """One peer a title, sorted by title."""
        services: dict[tuple[str, str], set[str]] = defaultdict(set)
        entities: dict[str, Entity] = {}
        for entity, service in pairs:
            entities[entity.name] = entity
            for title in titles_for(entity, service, called=called):
                services[entity.name, title].add(service)
        peers = (self._peer(entities[name], title, found, seen_from) for (name, title), found in services.items())
        return tuple(sorted(peers, key=lambda peer: peer.ae_title))

    def entity_callers(self, entity: Entity) -> tuple[Peer, ...]:
        """The entities that flows allow to call `entity`, one peer a title, sorted by title."""
        found = self._entity_callers.get(entity.name)
        if found is None:
            found = self._entity_callers[entity.name] = self._table(self._callers(entity), entity.site, called=False)
        return found

    def callers_of(self, entity: Entity) -> tuple[Peer, ...]:
        """Everybody who may call `entity`: entities by flows, then health checks, then probers."""
        return (*self.entity_callers(entity), *self.health_checks_of(entity), *self.probers())

    def called_by(self, entity: Entity) -> tuple[Peer, ...]:
        """Whom `entity` may call, one peer a title, sorted by title, as seen from its site."""
        return self._table(self._called(entity), entity.site, called=True)

    def move_destinations_of(self, archive: Entity) -> tuple[Peer, ...]:
        """Where an archive may C-MOVE to: whoever queries it, under the title that stands for storage there."""
        flows = self._flows_to.get(archive.name, ())
        queries = (resolved for resolved in flows if "query-retrieve" in resolved.flow.services)
        pairs = ((source, "storage") for resolved in queries for source in resolved.sources_for(archive))
        return self._table(pairs, archive.site, called=True)

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
        return tuple(each.address for each in entity.instances if each.address) if entity else ()


def _addresses_of(service: VirtualService) -> tuple[str, ...]:
    """Its addresses, those that will stay before those that have an end: peers are told the first."""
    ordered = sorted(service.addresses, key=lambda address: address.until is not None)
    return tuple(address.address for address in ordered)
