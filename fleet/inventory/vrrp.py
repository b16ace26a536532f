"""Between whom the advertisements of a virtual service pass: what keepalived is told and firewalls let through."""

from collections.abc import Mapping
from ipaddress import ip_address

from fleet.inventory.model import Entity, VirtualService


def find_families(service: VirtualService) -> tuple[int, ...]:
    """The IP versions of its addresses: VRRP carries those of one family only (RFC 5798 section 5.2.9)."""
    return tuple(sorted({ip_address(each.address).version for each in service.addresses}))


def find_unicast(service: VirtualService, entity: Entity, version: int) -> Mapping[str, str]:
    """Host → its own address, where VRRP runs by unicast; empty where it needs the multicast group.

    That is where a member has no address of the family, or is alone.
    """
    priority = service.vrrp.priority if service.vrrp else {}
    addresses = {each.host: each.address for each in entity.instances if each.host in priority}
    fits = len(addresses) > 1 and all(_version(address) == version for address in addresses.values())
    return addresses if fits else {}


def _version(address: str) -> int | None:
    try:
        return ip_address(address).version
    except ValueError:
        return None
