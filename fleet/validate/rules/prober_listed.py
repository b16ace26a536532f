"""Whoever asks C-ECHO stands in the tables that we render: otherwise a living archive looks dead."""

from collections.abc import Iterator

from fleet.errors import Location, Problem
from fleet.inventory.model import Entity, Inventory
from fleet.validate.context import Context, error, find_fleet, find_setting, warning
from fleet.validate.places import normalize_address

CODES = ("prober-unlisted", "prober-address-unlisted", "health-check-unlisted")
WAIVABLE = CODES

LISTING = ("dcmqrscp", "relay")  # engines whose table decides who may ask


def check(context: Context) -> Iterator[Problem]:
    """Callers of the sweep by title, then by address; then the callers of health checks."""
    if context.inventory.incomplete:
        return  # the prober may be among what was left out
    yield from _titles(context.inventory)
    yield from _controllers(context.inventory)
    yield from _hosts(context.inventory)
    yield from _checks(context)


def _is_probed(entity: Entity) -> bool:
    return entity.listens and entity.verify.probe != "never"


def _titles(inventory: Inventory) -> Iterator[Problem]:
    probers = {prober.ae_title for prober in inventory.probers}
    told: set[tuple[str, Location]] = set()
    known: set[tuple[str, str, str]] = set()
    for entity in inventory.entities:
        calling = entity.verify.calling
        if calling in probers or not _is_probed(entity) or (calling, entity.kind, entity.site) in known:
            continue
        at = find_setting(inventory, entity, ("verify", "calling"), calling)
        if at != entity.location and not str(at.pointer).startswith(entity.location.pointer + "/"):
            known.add((calling, entity.kind, entity.site))
        if probers:
            if (calling, at) not in told:
                told.add((calling, at))
                yield _unlisted(inventory, entity, calling, at)
            continue
        listing = next((each for each in inventory.entities if each.engine in LISTING and _is_probed(each)), None)
        text = (
            f"nobody is listed under `probers`, and the sweep asks as {calling}; no table that we render and no sheet"
            " would know it, so it would be refused wherever callers are checked; add"
            f" `probers: [{{ae_title: {calling}, addresses: [...]}}]`"
        )
        make = error if listing else warning
        yield make("prober-unlisted", text, (listing or entity).location, about=(calling,))
        return


def _unlisted(inventory: Inventory, entity: Entity, calling: str, at: Location) -> Problem:
    first = inventory.probers[0]
    text = (
        f"{entity.name} is asked as {calling!r}, which is no prober ({first.ae_title} at {first.location} is); no table"
        " that we render would list this caller, so it would be refused and the entity look dead; add it to `probers`,"
        " or correct verify.calling"
    )
    return error("prober-unlisted", text, at, first.location, about=(entity.ae_title, calling))


def _controllers(inventory: Inventory) -> Iterator[Problem]:
    listed = {normalize_address(address) for prober in inventory.probers for address in prober.addresses}
    if not listed:
        return
    for address in inventory.controllers:
        if normalize_address(address) not in listed:
            at, there = find_fleet(inventory, "controllers"), inventory.probers[0].at("addresses")
            text = (
                f"fleet runs from {address}, which no prober has among its addresses ({there}); servers that compare"
                " addresses would refuse its sweep, and archives look dead; add it there"
            )
            yield error("prober-address-unlisted", text, at, there, about=(address,))


def _hosts(inventory: Inventory) -> Iterator[Problem]:
    probers = {prober.ae_title: prober for prober in inventory.probers}
    listed: dict[str, set[str]] = {}
    for each in inventory.probers:
        listed.setdefault(each.ae_title, set()).update(normalize_address(address) for address in each.addresses)
    told: set[tuple[str, str]] = set()
    for entity in inventory.entities:
        origin, calling = entity.verify.probe_from, entity.verify.calling
        host = inventory.hosts.get(origin or "")
        if host is None or calling not in listed or not _is_probed(entity) or (host.name, calling) in told:
            continue
        own = {host.address, *(instance.address for _, instance in inventory.instances_by_host.get(host.name, ()))}
        if not listed[calling] & {normalize_address(address) for address in own}:
            told.add((host.name, calling))
            at, prober = find_setting(inventory, entity, ("verify", "from"), origin), probers[calling]
            text = (
                f"{entity.name} is probed from {host.name} ({host.address}, {host.location}) as {calling}, and that"
                f" address is not among this prober's ({prober.at('addresses')}); where addresses are compared it would"
                " be refused; add it there"
            )
            about = (entity.ae_title, host.name)
            yield error("prober-address-unlisted", text, at, prober.at("addresses"), about=about)


def _checks(context: Context) -> Iterator[Problem]:
    for service in context.inventory.virtual_services:
        entity = context.inventory.find_entity(service.entity)
        if service.via != "external" or service.script or entity is None or entity.engine not in LISTING:
            continue
        text = (
            f"the health check of {service.name} asks as {service.check.calling} from an appliance whose addresses"
            f" nobody knows; {entity.name} ({entity.location}) would list no such caller, refuse it, and be taken out"
            f" of service; say where the check runs with `script: {{path, where}}`"
        )
        about = (entity.ae_title, service.name)
        yield error("health-check-unlisted", text, service.at("check"), entity.location, about=about)
