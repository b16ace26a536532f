"""Whoever asks C-ECHO stands in the tables that we render: otherwise a living archive looks dead."""

from collections.abc import Iterator

from fleet.errors import Location, Problem
from fleet.inventory.model import Entity, Inventory, VerifySettings
from fleet.validate.context import Context, error, warning
from fleet.validate.inherited import each_verify, find_fleet, find_setting
from fleet.validate.places import normalize_address

CODES = ("prober-unlisted", "prober-address-unlisted", "health-check-unlisted")
WAIVABLE = CODES

LISTING = ("dcmqrscp", "relay")  # engines whose table decides who may ask


def check(context: Context) -> Iterator[Problem]:
    """Callers of the sweep by title, then by address; then the callers of health checks."""
    if context.inventory.incomplete:
        return  # the prober may be among what was left out
    if context.inventory.probers:
        yield from _titles(context)
        yield from _controllers(context)
        yield from _hosts(context)
    else:
        yield from _nobody(context)
    yield from _checks(context)


def _probed(context: Context) -> Iterator[tuple[Entity, VerifySettings]]:
    return ((entity, settings) for entity, settings in each_verify(context) if settings.probe != "never")


def _nobody(context: Context) -> Iterator[Problem]:
    """No prober at all: the sweep is a stranger to every table."""
    entity, settings = next(_probed(context), (None, None))
    if entity is None or settings is None:
        return
    listing = next((each for each, _ in _probed(context) if each.engine in LISTING), None)
    text = (
        f"nobody is listed under `probers`, and the sweep asks as {settings.calling}; no table that we render and no"
        " sheet would know it, so it would be refused wherever callers are checked; add"
        f" `probers: [{{ae_title: {settings.calling}, addresses: [...]}}]`"
    )
    make = error if listing else warning
    yield make("prober-unlisted", text, (listing or entity).location, about=(settings.calling,))


def _titles(context: Context) -> Iterator[Problem]:
    probers = {prober.ae_title for prober in context.inventory.probers}
    told: set[tuple[str, Location]] = set()
    for entity, settings in _probed(context):
        if settings.calling in probers:
            continue
        at = find_setting(context, entity, ("verify", "calling"), settings.calling)
        if (settings.calling, at) not in told:
            told.add((settings.calling, at))
            yield _unlisted(context.inventory, entity, settings.calling, at)


def _unlisted(inventory: Inventory, entity: Entity, calling: str, at: Location) -> Problem:
    first = inventory.probers[0]
    text = (
        f"{entity.name} is asked as {calling!r}, which is no prober ({first.ae_title} at {first.location} is); no table"
        " that we render would list this caller, so it would be refused and the entity look dead; add it to `probers`,"
        " or correct verify.calling"
    )
    return error("prober-unlisted", text, at, first.location, about=(entity.ae_title, calling))


def _controllers(context: Context) -> Iterator[Problem]:
    inventory = context.inventory
    listed = {normalize_address(address) for prober in inventory.probers for address in prober.addresses}
    for address in inventory.controllers:
        if normalize_address(address) not in listed:
            at, there = find_fleet(context, "controllers"), inventory.probers[0].at("addresses")
            text = (
                f"fleet runs from {address}, which no prober has among its addresses ({there}); servers that compare"
                " addresses would refuse its sweep, and archives look dead; add it there"
            )
            yield error("prober-address-unlisted", text, at, there, about=(address,))


def _hosts(context: Context) -> Iterator[Problem]:
    inventory = context.inventory
    probers = {prober.ae_title: prober for prober in inventory.probers}
    listed: dict[str, set[str]] = {}
    for each in inventory.probers:
        listed.setdefault(each.ae_title, set()).update(normalize_address(address) for address in each.addresses)
    told: set[tuple[str, str]] = set()
    for entity, settings in _probed(context):
        origin, calling = settings.probe_from, settings.calling
        host = inventory.hosts.get(origin or "")
        if host is None or calling not in listed or (host.name, calling) in told:
            continue
        own = {host.address, *(instance.address for _, instance in inventory.instances_by_host.get(host.name, ()))}
        if not listed[calling] & {normalize_address(address) for address in own}:
            told.add((host.name, calling))
            at, prober = find_setting(context, entity, ("verify", "from"), origin), probers[calling]
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
