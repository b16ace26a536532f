"""Names that stand for something of the inventory stand for something that is there."""

import difflib
from collections.abc import Iterable, Iterator

from fleet.errors import Location, Problem
from fleet.inventory.model import Entity, Inventory
from fleet.inventory.schedule import InvalidScheduleError
from fleet.validate.context import Context, error, is_known
from fleet.validate.inherited import each_verify, find_setting
from fleet.validate.routes import find_opening, hops

CODES = (
    "unknown-host",
    "unknown-entity",
    "unknown-site",
    "unknown-schedule",
    "unknown-certificate",
)
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Every reference but selectors."""
    inventory = context.inventory
    yield from _hosts(inventory)
    yield from _probe_hosts(context)
    yield from _entities(inventory)
    yield from _sites(inventory)
    yield from _certificates(context)
    yield from _probe_schedules(context)
    yield from _relays(context)


def _hint(word: str, known: Iterable[str], where: str) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"define it under `{where}`, or correct the name"


def _hosts(inventory: Inventory) -> Iterator[Problem]:
    for entity in inventory.entities:
        for instance in entity.instances:
            if instance.host not in inventory.hosts and not is_known(inventory, instance.host):
                text = (
                    f"{entity.name} has an instance on the host {instance.host!r}, which there is not; nothing would be"
                    f" installed and nobody could be told its address; {_hint(instance.host, inventory.hosts, 'hosts')}"
                )
                yield error("unknown-host", text, instance.at("host"), about=(entity.ae_title, instance.host))


def _probe_hosts(context: Context) -> Iterator[Problem]:
    inventory = context.inventory
    told: set[Location] = set()
    for entity, settings in each_verify(context):
        origin = settings.probe_from
        if origin and origin not in inventory.hosts and not is_known(inventory, origin):
            at = find_setting(context, entity, ("verify", "from"), origin)
            if at in told:
                continue
            told.add(at)
            text = (
                f"verify.from of {entity.name} is {origin!r}, and there is no such host; nobody would probe it and it"
                f" would be `unknown` every night; {_hint(origin, inventory.hosts, 'hosts')}"
            )
            yield error("unknown-host", text, at, about=(entity.ae_title, origin))


def _entities(inventory: Inventory) -> Iterator[Problem]:
    for service in inventory.virtual_services:
        name = service.entity
        if inventory.find_entity(name) is None and not is_known(inventory, name):
            text = (
                f"the virtual service {service.name} stands before {name!r}, and there is no such entity; its address"
                f" would lead nowhere; {_hint(name, inventory.by_title, 'entities')}"
            )
            yield error("unknown-entity", text, service.at("entity"), about=(service.name, name))


def _sites(inventory: Inventory) -> Iterator[Problem]:
    if "site" in inventory.broken_keys:
        return  # the site that is missing may be the one whose name is broken
    for entity in inventory.entities:
        for site in entity.seen_as:
            if site not in inventory.sites:
                text = (
                    f"{entity.name} is seen_as another address from the site {site!r}, and there is no such site; who"
                    f" looks from there would be given the wrong address; {_hint(site, inventory.sites, 'site')}"
                )
                yield error("unknown-site", text, entity.at("seen_as", site), about=(entity.ae_title, site))
    for flow in inventory.flows:
        for index, site in enumerate(flow.except_sites):
            if site not in inventory.sites:
                text = (
                    f"`except` names the site {site!r}, and there is no such site; the exception that was meant does"
                    f" not hold; {_hint(site, inventory.sites, 'site')}"
                )
                yield error("unknown-site", text, flow.at("except", index), about=(site,))


def _certificates(context: Context) -> Iterator[Problem]:
    inventory = context.inventory
    told: set[Location] = set()
    for entity in inventory.entities:
        for steps, name in _certificate_names(entity):
            if name is None or name in inventory.certificates or is_known(inventory, name):
                continue
            at = find_setting(context, entity, steps, name)
            if at not in told:
                told.add(at)
                text = (
                    f"{'.'.join(steps)} of {entity.name} is {name!r}, and there is no such certificate; no connection"
                    f" that needs it could be made; {_hint(name, inventory.certificates, 'certificates')}"
                )
                yield error("unknown-certificate", text, at, about=(entity.ae_title, name))


def _certificate_names(entity: Entity) -> Iterator[tuple[tuple[str, ...], str | None]]:
    if entity.tls is not None:
        yield ("tls", "verify", "ca"), entity.tls.verify_ca
        yield ("tls", "present"), entity.tls.present
    serving = entity.run.settings.get("tls") if entity.run else None
    if serving is not None:
        yield ("run", "tls", "certificate"), serving["certificate"]
        yield ("run", "tls", "callers_ca"), serving.get("callers_ca")


def _probe_schedules(context: Context) -> Iterator[Problem]:
    inventory = context.inventory
    told: set[Location] = set()
    for entity, settings in each_verify(context):
        probe = settings.probe
        if probe in ("always", "never") or probe in inventory.schedules or is_known(inventory, probe):
            continue
        at = find_setting(context, entity, ("verify", "probe"), probe)
        if at not in told:
            told.add(at)
            text = (
                f"verify.probe of {entity.name} is {probe!r}, neither always nor never nor a schedule; nobody could say"
                f" when it may be asked; {_hint(probe, inventory.schedules, 'schedules')}"
            )
            yield error("unknown-schedule", text, at, about=(entity.ae_title, probe))


def _relays(context: Context) -> Iterator[Problem]:
    inventory = context.inventory
    told: set[tuple[Location, str]] = set()
    for hop in hops(context):
        at = hop.destination.at("ae_title")
        if (
            hop.entity is None
            and not hop.missing
            and not is_known(inventory, hop.title)
            and (at, hop.title) not in told
        ):
            told.add((at, hop.title))
            text = (
                f"the route {hop.route.name} of {hop.relay.name} leads to {hop.title!r}, and there is no such entity;"
                f" its studies would wait in the spool for ever; {_hint(hop.title, inventory.by_title, 'entities')}"
            )
            yield error("unknown-entity", text, at, about=(hop.relay.ae_title, hop.title))
    yield from _windows(context)


def _windows(context: Context) -> Iterator[Problem]:
    inventory = context.inventory
    for relay in inventory.relays:
        for route in relay.routes:
            targets = (*route.primary, *route.optional)
            timed = [(each.during, each.at("during")) for each in targets if each.during]
            timed += [
                (rate.during, rate.at("during")) for each in targets for rate in each.rates if rate.during is not None
            ]
            if isinstance(route.when.get("during"), str):
                timed.append((route.when["during"], route.at("when", "during")))
            for during, at in timed:
                if during in inventory.schedules or is_known(inventory, during):
                    continue
                try:
                    find_opening(inventory, during, relay)
                except InvalidScheduleError as wrong:
                    text = (
                        f"`during` of the route {route.name} is {during!r}, which is no schedule, and as a window:"
                        f" {wrong}; nobody could say when it is open; {_hint(during, inventory.schedules, 'schedules')}"
                    )
                    yield error("unknown-schedule", text, at, about=(relay.entity, during))
