"""VRRP (RFC 5798): one router id a network, one priority a member, a prefix for every address."""

import ipaddress
from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import VirtualService, Vrrp
from fleet.validate.context import Context, error
from fleet.validate.places import is_ip_address

CODES = ("vrrp-missing", "vrrp-router-id-duplicate", "vrrp-priority", "vrrp-prefix-missing")
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Each service with an address that moves, then router ids over the fleet."""
    first: dict[tuple[int, str], VirtualService] = {}
    for service in context.inventory.virtual_services:
        if service.via == "external":
            continue
        about = (service.entity, service.name)
        if service.vrrp is None:
            text = (
                f"{service.name} is `via: {service.via}` and has no `vrrp`; no host would hold its address, and nobody"
                f" could call it; add `vrrp: {{interface, virtual_router_id, priority}}`"
            )
            yield error("vrrp-missing", text, service.location, about=about)
            continue
        yield from _priorities(context, service, service.vrrp)
        yield from _prefixes(service)
        for network in _networks(service, service.vrrp):
            known = first.setdefault((service.vrrp.virtual_router_id, network), service)
            if known is not service and known.vrrp:
                yield _twice(service, service.vrrp, known, known.vrrp, network)
                break


def _networks(service: VirtualService, vrrp: Vrrp) -> list[str]:
    """The networks that a router id must be alone on: those of the addresses, and the site's by interface."""
    found = [f"{vrrp.interface} of {service.site}"]
    for virtual in service.addresses:
        if virtual.prefix is not None and is_ip_address(virtual.address):
            try:
                found.append(str(ipaddress.ip_network(f"{virtual.address}/{virtual.prefix}", strict=False)))
            except ValueError:
                continue
    return found


def _twice(service: VirtualService, vrrp: Vrrp, known: VirtualService, other: Vrrp, network: str) -> Problem:
    at, there = vrrp.at("virtual_router_id"), other.at("virtual_router_id")
    text = (
        f"{service.name} and {known.name} ({there}) have one virtual_router_id ({vrrp.virtual_router_id}) on one"
        f" network ({network}); their routers would take each other for partners, and one of the addresses would be"
        " held by nobody; give one another id (1-255)"
    )
    return error("vrrp-router-id-duplicate", text, at, there, about=(service.entity, service.name, known.name))


def _priorities(context: Context, service: VirtualService, vrrp: Vrrp) -> Iterator[Problem]:
    entity = context.inventory.find_entity(service.entity)
    about = (service.entity, service.name)
    first: dict[int, str] = {}
    for host, priority in vrrp.priority.items():
        known = first.setdefault(priority, host)
        if known != host:
            text = (
                f"{host} and {known} ({vrrp.at('priority', known)}) have the same priority ({priority}) in"
                f" {service.name}; which of them serves would be chance, and not the one that HAProxy prefers; make"
                " them differ"
            )
            there = vrrp.at("priority", known)
            yield error("vrrp-priority", text, vrrp.at("priority", host), there, about=(*about, host, known))
    for instance in entity.instances if entity else ():
        if instance.host not in vrrp.priority and instance.host in context.inventory.hosts:
            text = (
                f"{instance.host} runs {service.entity} ({instance.location}) and has no priority in {service.name}; it"
                " would never take the address over; give it one"
            )
            yield error("vrrp-priority", text, vrrp.at("priority"), instance.location, about=(*about, instance.host))


def _prefixes(service: VirtualService) -> Iterator[Problem]:
    for virtual in service.addresses:
        most = 128 if ":" in virtual.address else 32
        if virtual.prefix is None or virtual.prefix > most:
            said = "has no prefix length" if virtual.prefix is None else f"has the prefix length {virtual.prefix}"
            text = (
                f"the virtual address {virtual.address} of {service.name} {said}; keepalived would put it on the host"
                f" as a network of its own, and neighbours might not find it; type it as {virtual.address}/24 or what"
                " the network's is"
            )
            yield error("vrrp-prefix-missing", text, virtual.location, about=(service.entity, service.name))
