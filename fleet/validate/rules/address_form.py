"""What looks like an IP address is one, and machines of ours have one that does not change."""

from collections.abc import Iterator

from fleet.errors import Location, Problem
from fleet.validate.context import Context, error
from fleet.validate.inherited import find_fleet
from fleet.validate.places import is_ip_address, is_malformed

CODES = ("address-malformed",)
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Every address that is typed."""
    inventory = context.inventory
    for host in inventory.hosts.values():
        if host.address == "dhcp" or is_malformed(host.address):
            yield from _judge(host.address, host.at("address"), host.name, dhcp=False)
    for entity in inventory.entities:
        if entity.address and is_malformed(entity.address):
            yield from _judge(entity.address, entity.at("address"), entity.ae_title)
        for index, instance in enumerate(entity.instances):
            if instance.address and is_malformed(instance.address):
                yield from _judge(instance.address, entity.at("instances", index, "address"), entity.ae_title)
    yield from _others(context)


def _others(context: Context) -> Iterator[Problem]:
    inventory = context.inventory
    for entity in inventory.entities:
        for site, address in entity.seen_as.items():
            yield from _judge(address, entity.at("seen_as", site), entity.ae_title, dhcp=False)
    for prober in inventory.probers:
        for index, address in enumerate(prober.addresses):
            yield from _judge(address, prober.at("addresses", index), prober.ae_title, dhcp=False)
    for index, address in enumerate(inventory.controllers):
        yield from _judge(address, find_fleet(context, "controllers"), f"controller {index + 1}", dhcp=False)
    for service in inventory.virtual_services:
        for virtual in service.addresses:
            if not is_ip_address(virtual.address):
                text = (
                    f"the virtual address {virtual.address!r} of {service.name} is no IP address; no host could hold"
                    " it, and the service would have no door; type an IPv4 or IPv6 address"
                )
                yield error(CODES[0], text, virtual.location, about=(service.entity, service.name))


def _judge(text: str, at: Location, who: str, *, dhcp: bool = True) -> Iterator[Problem]:
    if is_malformed(text):
        message = (
            f"{text!r} of {who} looks like an IP address and is none; it would be asked of the DNS as a name and never"
            " be found; correct it"
        )
        yield error(CODES[0], message, at, about=(who,))
    elif text == "dhcp" and not dhcp:
        message = f"{who} cannot have its address by DHCP: others have to know it; give it a fixed one"
        yield error(CODES[0], message, at, about=(who,))
