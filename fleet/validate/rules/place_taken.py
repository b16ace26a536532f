"""One address and port is one entity; further titles of the same machine stand under its `also`."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Entity, Host
from fleet.validate.context import Context, error
from fleet.validate.places import normalize_address

CODES = ("place-duplicate", "host-address-duplicate")
WAIVABLE = ()

Claim = tuple[Entity, str, int, tuple[str | int, ...]]


def check(context: Context) -> Iterator[Problem]:
    """Entities at one place, then hosts at one place."""
    first: dict[tuple[str, int], Claim] = {}
    for entity in context.inventory.entities:
        own: set[tuple[str, int]] = set()
        for address, port, steps in _claims(entity):
            place = (normalize_address(address), port)
            known = first.setdefault(place, (entity, address, port, steps))
            if known[0] is not entity or (place in own and known[3] != steps and "instances" in steps):
                yield _problem(entity, steps, known)
            own.add(place)
    yield from _hosts(context)


def _claims(entity: Entity) -> Iterator[tuple[str, int, tuple[str | int, ...]]]:
    """Where an entity listens, and the keys where that was typed."""
    if not entity.listens:
        return
    for index, instance in enumerate(entity.instances):
        yield instance.address, instance.port, ("instances", index)
        for number, further in enumerate(entity.also):
            if further.listens and further.port and further.port != instance.port:
                yield instance.address, further.port, ("also", number)
    if entity.instances or not entity.address or entity.address == "dhcp":
        return
    if entity.port:
        yield entity.address, entity.port, ("address",)
    if entity.tls and entity.tls.port and entity.tls.port != entity.port:
        yield entity.address, entity.tls.port, ("tls", "port")
    for number, further in enumerate(entity.also):
        if further.listens and further.port and further.port != entity.port:
            yield entity.address, further.port, ("also", number)


def _problem(entity: Entity, steps: tuple[str | int, ...], known: Claim) -> Problem:
    other, address, port, there = known
    at, also = entity.at(*steps), other.at(*there)
    text = (
        f"{entity.name} is at {address} port {port}, where {other.name} is already ({also}); whatever answers there"
        " would be taken for both, and on a host of ours the second could not start; correct one of them, or list the"
        " title of one under the other's `also` where they are one machine"
    )
    return error(CODES[0], text, at, also, about=(entity.ae_title, other.ae_title))


def _hosts(context: Context) -> Iterator[Problem]:
    first: dict[tuple[str, int, str | None], Host] = {}
    for host in context.inventory.hosts.values():
        if host.retired:
            continue
        known = first.setdefault((normalize_address(host.address), host.ssh.port, host.ssh.jump), host)
        if known is not host:
            text = (
                f"the hosts {host.name} and {known.name} ({known.at('address')}) are one machine: both are"
                f" {host.address}, SSH port {host.ssh.port}; each would remove the other's files as no longer wanted;"
                " keep one"
            )
            yield error(CODES[1], text, host.at("address"), known.at("address"), about=(host.name, known.name))
