"""dcmqrscp (with -dhl) and HAProxy's allow list compare addresses: whoever calls them has one that is known."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Entity
from fleet.validate.context import Context, error
from fleet.validate.places import is_ip_address, is_malformed

CODES = ("peer-address-unusable",)
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Each source of a flow once, with the first such server that it calls; then who checks and probes."""
    servers = comparing_servers(context)
    if not servers:
        return
    told: set[str] = set()
    for resolved in context.peers.flows:
        if not any(destination.name in servers for destination in resolved.destinations):
            continue
        for source in resolved.sources:
            reason = None if source.name in told else _reason(source)
            if reason is None:
                continue
            called = (each for each in resolved.destinations_for(source) if each.name in servers)
            server = next((each for each in called if not _is_seen(source, each.site)), None)
            if server:
                told.add(source.name)
                yield _problem(source, server, servers[server.name], reason)
    yield from _probers(context, servers)


def comparing_servers(context: Context) -> dict[str, str]:
    """The entities whose server compares addresses, by name, with what compares them."""
    found = {entity.name: "dcmqrscp" for entity in context.inventory.entities if entity.engine == "dcmqrscp"}
    for service in context.inventory.virtual_services:
        entity = context.inventory.find_entity(service.entity)
        if entity and service.via == "haproxy":
            found.setdefault(entity.name, "HAProxy")
    return found


def _reason(source: Entity) -> str | None:
    if source.instances:
        named = next((each.address for each in source.instances if each.address and _is_name(each.address)), None)
        return f"is given by the name {named!r}" if named else None
    if source.address is None:
        return "has no address"
    if source.address == "dhcp":
        return "has its address by DHCP"
    return f"is given by the name {source.address!r}" if _is_name(source.address) else None


def _is_name(address: str) -> bool:
    """Neither an address nor a mistyped one, which is told as what it is."""
    return not is_ip_address(address) and not is_malformed(address)


def _is_seen(source: Entity, site: str) -> bool:
    seen = source.seen_as.get(site)
    return seen is not None and is_ip_address(seen)


def _problem(source: Entity, server: Entity, product: str, reason: str) -> Problem:
    text = (
        f"{source.name} {reason}, and calls {server.name} ({server.location}), where {product} compares addresses; it"
        " would be refused like a stranger; give it a fixed IP address (for an SCU too: `address` is its source)"
    )
    at = source.at("instances" if source.instances else "address")
    return error(CODES[0], text, at, server.location, about=(source.ae_title, server.ae_title))


def _probers(context: Context, servers: dict[str, str]) -> Iterator[Problem]:
    name, product = next(iter(servers.items()))
    server = context.inventory.by_name[name]
    for prober in context.inventory.probers:
        for index, address in enumerate(prober.addresses):
            if _is_name(address) and address != "dhcp":
                text = (
                    f"the prober {prober.ae_title} is given by the name {address!r}, and {server.name}"
                    f" ({server.location}) is behind {product}, which compares addresses; every probe would be refused"
                    " and the archive look dead; give the prober's IP address"
                )
                yield error(CODES[0], text, prober.at("addresses", index), server.location, about=(prober.ae_title,))
