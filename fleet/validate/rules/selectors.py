"""A selector that selects nothing is a mistake, never an empty run."""

from collections.abc import Iterator

from fleet.errors import EmptySelection, Location, Problem
from fleet.inventory.model import Entity
from fleet.validate.context import Context, error

CODES = ("selector-matches-nothing", "selector-no-relay")
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Selectors of groups, flows, relays, files and health-check scripts (a waiver's: where waivers are applied)."""
    for place, text, at, effect in _selectors(context):
        if is_excused(context, text):
            continue
        reason = _reason(context, place, text)
        if reason:
            what = reason.removesuffix("; nothing was done").replace("; nothing was done; ", "; ")
            yield error(CODES[0], f"{what}; {effect}; correct it, or remove what it stands in", at, about=(text,))
    yield from _relays(context)


def is_excused(context: Context, text: str) -> bool:
    """Whether what it lacks may be among what was left out as broken, which is told elsewhere."""
    inventory = context.inventory
    return inventory.incomplete and (
        any(sign in text for sign in "=*?[!") or inventory.unread or any(name in text for name in inventory.left_out)
    )


def _selectors(context: Context) -> Iterator[tuple[str, str, Location, str]]:
    inventory = context.inventory
    for name, text in inventory.groups.items():
        effect = f"whoever uses the group {name} would act on nobody"
        yield "either", text, inventory.group_origins[name].at(), effect
    for flow in inventory.flows:
        effect = "nobody gets this permission, and who counts on it is rejected"
        yield "entities", flow.source, flow.at("from"), effect
        yield "entities", flow.destination, flow.at("to"), effect
    for relay in inventory.relays:
        yield "entities", relay.entity, relay.at("entity"), "these routes would run nowhere"
    for file in inventory.files:
        yield "hosts", file.where, file.at("where"), f"{file.path} would be kept nowhere"
    for service in inventory.virtual_services:
        if service.script:
            effect = f"the health check of {service.name} would be put nowhere"
            yield "hosts", service.script.where, service.at("script", "where"), effect


def _reason(context: Context, place: str, text: str) -> str | None:
    try:
        if place == "entities":
            context.selectors.entities(text)
        elif place == "hosts":
            context.selectors.hosts(text)
        else:
            return context.selectors.matches_nothing(text)
    except EmptySelection as empty:
        return str(empty)
    return None


def _relays(context: Context) -> Iterator[Problem]:
    for relay in context.inventory.relays:
        try:
            found: tuple[Entity, ...] = context.selectors.entities(relay.entity)
        except EmptySelection:
            continue
        for entity in found:
            if entity.engine != "relay":
                text = (
                    f"these routes select {entity.name} ({entity.location}), whose engine is {entity.engine}; nothing"
                    f" there would carry them out; narrow the selector, or say `run: {{engine: relay}}` there"
                )
                yield error(CODES[1], text, relay.at("entity"), entity.location, about=(entity.ae_title,))
