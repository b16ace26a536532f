"""The firewall rules that the flows need: who opens a connection to what, and why. Nothing more than that.

Sources are as seen at the destination's site, destinations as seen at the source's: where a box is behind NAT the
two sides of a firewall see different addresses, and the rule says so.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Final

from fleet.inventory.model import Entity, Host, Inventory, VirtualService, Vrrp
from fleet.inventory.peers import Peers, titles_for
from fleet.inventory.vrrp import find_families, find_unicast
from fleet.sheet.boxes import COMMITMENT, probing_host

UNKNOWN = "?"  # an address that the inventory does not know, as with DHCP
VRRP = "112"  # the IP protocol by its number (RFC 5798 section 5.1.1.4), which every firewall takes
# Where it is not sent by unicast (RFC 5798 sections 5.1.1.2.1 and 5.1.1.2.2): IPv6 from an address of the link.
_VRRP_GROUPS: Final[Mapping[int, str]] = {4: "224.0.0.18", 6: "ff02::12"}

# What comes back in an association of its own: C-MOVE's sub-operations (PS3.4 C.4.2.2.1), and the N-EVENT-REPORT of
# storage commitment (PS3.4 J.3.3).
_ANSWERS: Final[Mapping[str, str]] = {"query-retrieve": "storage", COMMITMENT: COMMITMENT}


@dataclass(frozen=True, slots=True)
class Rule:
    """One connection that must be let through; `port` is None for what has none (VRRP)."""

    source: str
    destination: str
    protocol: str
    port: int | None
    why: tuple[str, ...]


_Need = tuple[str, str, str, int | None, str]


def make_firewall(peers: Peers, entities: Iterable[Entity] | None = None) -> tuple[Rule, ...]:
    """Every rule that the fleet needs, or those that touch these entities; sorted, each once, its reasons together."""
    inventory = peers.inventory
    wanted = None if entities is None else {entity.name for entity in entities}
    needs = [
        *_flow_needs(peers, wanted),
        *_probe_needs(peers, wanted),
        *(need for service in inventory.virtual_services for need in _service_needs(peers, service, wanted)),
        *_ssh_needs(inventory, wanted),
    ]
    return _fold(needs)


def _fold(needs: Iterable[_Need]) -> tuple[Rule, ...]:
    reasons: dict[tuple[str, str, str, int | None], set[str]] = defaultdict(set)
    for source, destination, protocol, port, why in needs:
        if source != destination or source == UNKNOWN:
            reasons[source, destination, protocol, port].add(why)
    ordered = sorted(reasons.items(), key=lambda item: (*map(_address_key, item[0][:2]), item[0][2], item[0][3] or 0))
    return tuple(Rule(*key, tuple(sorted(why))) for key, why in ordered)


def _address_key(address: str) -> tuple[int, tuple[int, ...], str]:
    """IPv4 addresses by number, then everything else by text."""
    parts = address.split(".")
    if len(parts) == 4 and all(part.isdecimal() for part in parts):
        return (0, tuple(int(part) for part in parts), "")
    return (1, (), address)


# Flows ---------------------------------------------------------------------------------------------------


def _flow_needs(peers: Peers, wanted: set[str] | None) -> Iterator[_Need]:
    for resolved in peers.flows:
        for destination in resolved.destinations:
            for source in resolved.sources_for(destination):
                if wanted is None or source.name in wanted or destination.name in wanted:
                    yield from _pair_needs(peers, source, destination, resolved.flow.services)


def _pair_needs(peers: Peers, source: Entity, destination: Entity, services: tuple[str, ...]) -> Iterator[_Need]:
    for service in services:
        why = f"{service}: {source.ae_title} to {destination.ae_title}"
        yield from _connections(peers, (source, destination), service, why)
        if service in _ANSWERS:
            back = f"{_ANSWERS[service]} in answer to {service}: {destination.ae_title} to {source.ae_title}"
            yield from _connections(peers, (destination, source), _ANSWERS[service], back)


def _connections(peers: Peers, pair: tuple[Entity, Entity], service: str, why: str) -> Iterator[_Need]:
    source, destination = pair
    nat = _nat_note(source, destination)
    for sender in peers.sources_of(source, destination.site) or (UNKNOWN,):
        for address, port in _places(peers, destination, source.site, service):
            yield (sender, address, "tcp", port, f"{why}{nat}")


def _places(peers: Peers, entity: Entity, seen_from: str, service: str) -> tuple[tuple[str, int], ...]:
    """Where an entity is called in a service: the ports of the titles that it bears there."""
    unknown = peers.sources_of(entity, seen_from) or (UNKNOWN,)
    places = peers.destinations_of(entity, seen_from) or tuple((address, entity.port or 0) for address in unknown)
    ports = {also.ae_title: also.port for also in entity.also}
    titles = titles_for(entity, service, called=True)
    found = ((address, ports.get(title) or port) for address, port in places for title in titles)
    return tuple(dict.fromkeys((address, port) for address, port in found if port))


def _nat_note(source: Entity, destination: Entity) -> str:
    notes = []
    for entity, site in ((source, destination.site), (destination, source.site)):
        if site in entity.seen_as and entity.address:
            notes.append(f"{entity.ae_title} is {entity.address} at {entity.site}, {entity.seen_as[site]} from {site}")
    return f" (NAT: {'; '.join(notes)})" if notes else ""


# Probers and health checks -------------------------------------------------------------------------------


def _probe_needs(peers: Peers, wanted: set[str] | None) -> Iterator[_Need]:
    controllers = set(peers.inventory.controllers)
    sites = {host.address: host.site for host in peers.inventory.hosts.values()}
    for entity in peers.inventory.entities:
        if not entity.listens or (wanted is not None and entity.name not in wanted):
            continue
        for prober in peers.inventory.probers:
            ours = prober.ae_title == entity.verify.calling
            for address in _askers(peers.inventory, entity, prober.addresses, controllers if ours else set()):
                for place, port in _probed_places(peers, entity, sites.get(address, "")):
                    yield (address, place, "tcp", port, f"C-ECHO by {prober.ae_title}: {entity.ae_title}")


def _askers(inventory: Inventory, entity: Entity, addresses: tuple[str, ...], controllers: set[str]) -> tuple[str, ...]:
    """Who asks: the host of `verify.from` in the controllers' place, and no controller where none may ask."""
    stand_in = probing_host(inventory, entity) if controllers else ()
    skipped = controllers if stand_in or entity.verify.probe == "never" else set()
    return tuple(dict.fromkeys((*(address for address in addresses if address not in skipped), *stand_in)))


def _probed_places(peers: Peers, entity: Entity, seen_from: str) -> tuple[tuple[str, int], ...]:
    """Every instance and every virtual address: a sweep asks them all."""
    instances = ((instance.address, instance.port) for instance in entity.instances)
    return tuple(dict.fromkeys((*_places(peers, entity, seen_from, "verification"), *instances)))


def _service_needs(peers: Peers, service: VirtualService, wanted: set[str] | None) -> Iterator[_Need]:
    entity = peers.inventory.find_entity(service.entity)
    if entity is None or (wanted is not None and entity.name not in wanted):
        return
    for checker in peers.checkers_of(service):
        for instance in entity.instances:
            yield (checker, instance.address, "tcp", instance.port, f"health check of {service.name}")
            if service.via == "haproxy":
                yield (checker, instance.address, "tcp", instance.port, f"HAProxy of {service.name} to its members")
    if service.vrrp is not None:
        yield from _vrrp_needs(entity, service, service.vrrp)


def _vrrp_needs(entity: Entity, service: VirtualService, vrrp: Vrrp) -> Iterator[_Need]:
    """Between the members' own addresses, as keepalived is told; to the multicast group only where it needs it."""
    why = f"VRRP of {service.name}, virtual router {vrrp.virtual_router_id}"
    for version in find_families(service):
        unicast = find_unicast(service, entity, version).values()
        yield from ((member, other, VRRP, None, why) for member, other in permutations(unicast, 2))
        for instance in () if unicast else entity.instances:
            if instance.host in vrrp.priority:
                source = instance.address if version == 4 else UNKNOWN
                yield (source, _VRRP_GROUPS[version], VRRP, None, why)


# SSH -----------------------------------------------------------------------------------------------------


def _ssh_needs(inventory: Inventory, wanted: set[str] | None) -> Iterator[_Need]:
    for host in inventory.hosts.values():
        runs = {entity.name for entity, _ in inventory.instances_by_host.get(host.name, ())}
        if wanted is None or runs & wanted:
            for source in _ssh_sources(inventory, host):
                yield (source, host.address, "tcp", host.ssh.port, f"SSH to {host.name}")


def _ssh_sources(inventory: Inventory, host: Host) -> tuple[str, ...]:
    """The controllers, or the last jump host, by its name or as `user@address:port`."""
    if not host.ssh.jumps:
        return inventory.controllers or (UNKNOWN,)
    last = host.ssh.jumps[-1]
    jump = inventory.hosts.get(last)
    return (jump.address if jump else last.rpartition("@")[2].rpartition(":")[0] or UNKNOWN,)
