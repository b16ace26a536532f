"""A virtual address is nobody's own: no host has it, no box is it, no other virtual service holds it."""

from collections.abc import Iterator

from fleet.errors import Location, Problem
from fleet.inventory.model import VirtualAddress, VirtualService
from fleet.validate.context import Context, error, is_over, warning
from fleet.validate.places import normalize_address

CODES = ("virtual-address-taken", "virtual-address-duplicate", "virtual-address-over")
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Each virtual address against everything else (T18)."""
    services = context.inventory.virtual_services
    if not services:
        return
    own = _own_addresses(context)
    first: dict[str, tuple[VirtualService, VirtualAddress]] = {}
    for service in services:
        for virtual in service.addresses:
            key = normalize_address(virtual.address)
            if key in own:
                yield _taken(service, virtual, *own[key])
            known, there = first.setdefault(key, (service, virtual))
            if there is not virtual and _clash(service, known):
                yield _twice(service, virtual, known, there)
            if virtual.until and is_over(virtual.until, context.today):
                text = (
                    f"the address {virtual.address} of {service.name} was to live until {virtual.until}; whoever still"
                    " calls it should have been changed by now; remove it, or give it a later date"
                )
                yield warning("virtual-address-over", text, virtual.at("until"), about=(service.entity, service.name))


def _own_addresses(context: Context) -> dict[str, tuple[str, Location]]:
    inventory = context.inventory
    wanted = {normalize_address(each.address) for service in inventory.virtual_services for each in service.addresses}
    found: dict[str, tuple[str, Location]] = {}
    for host in inventory.hosts.values():
        if normalize_address(host.address) in wanted:
            found.setdefault(normalize_address(host.address), (f"the host {host.name}", host.at("address")))
    for entity in inventory.entities:
        for index, instance in enumerate(entity.instances):
            if normalize_address(instance.address) in wanted:
                what = f"an instance of {entity.name}"
                found.setdefault(normalize_address(instance.address), (what, entity.at("instances", index)))
        if entity.address and normalize_address(entity.address) in wanted:
            found.setdefault(normalize_address(entity.address), (entity.name, entity.at("address")))
    return found


def _clash(one: VirtualService, other: VirtualService) -> bool:
    """One address in two VRRP instances is claimed twice; an appliance's may serve several ports."""
    return one.port == other.port or not (one.via == other.via == "external")


def _taken(service: VirtualService, virtual: VirtualAddress, what: str, there: Location) -> Problem:
    text = (
        f"the virtual address {virtual.address} of {service.name} is the address of {what} ({there}); two machines"
        " would answer for one address, and connections break at random; give the service an address of its own"
    )
    return error("virtual-address-taken", text, virtual.location, there, about=(service.entity, service.name))


def _twice(service: VirtualService, virtual: VirtualAddress, known: VirtualService, there: VirtualAddress) -> Problem:
    text = (
        f"the virtual address {virtual.address} of {service.name} is also that of {known.name} ({there.location}); both"
        " would claim it and callers land on whichever came last; give one of them another address"
    )
    about = (service.entity, service.name, known.name)
    return error("virtual-address-duplicate", text, virtual.location, there.location, about=about)
