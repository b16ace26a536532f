"""The routes of relays with their `{{ var }}` filled, one hop a destination, as several rules ask for them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from fleet.errors import EmptySelection
from fleet.inventory.model import Entity, Inventory, Relay, Route, RouteDestination
from fleet.inventory.schedule import InvalidScheduleError, Opening, parse_opening, parse_windows, parse_zone
from fleet.validate.context import Context

VARIABLE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Hop:
    """One destination of one route of one relay; `title` is as the relay would call it."""

    relay: Entity
    text: Relay
    route: Route
    destination: RouteDestination
    title: str
    entity: Entity | None
    missing: tuple[str, ...] = ()  # variables that this relay does not have


def relays_of(context: Context, text: Relay) -> tuple[Entity, ...]:
    """The relay entities that a text is for; none where its selector selects nothing (told elsewhere)."""
    try:
        return context.selectors.entities(text.entity)
    except EmptySelection:
        return ()


def hops(context: Context) -> Iterator[Hop]:
    """Every destination of every route for every relay entity."""
    for text in context.inventory.relays:
        for relay in relays_of(context, text):
            for route in text.routes:
                for destination in (*route.primary, *route.optional):
                    yield from _hops_to(context.inventory, relay, text, route, destination)


def _hops_to(
    inventory: Inventory, relay: Entity, text: Relay, route: Route, destination: RouteDestination
) -> Iterator[Hop]:
    seen: set[str] = set()
    for variables in variables_of(relay):
        title, missing = fill(destination.ae_title, variables)
        if title not in seen:
            seen.add(title)
            entity = None if missing else inventory.by_title.get(title.strip(" "))
            yield Hop(relay, text, route, destination, title, entity, missing)


def variables_of(relay: Entity) -> tuple[Mapping[str, Any], ...]:
    """The variables of each of its instances, or its own where it has none."""
    return tuple(instance.vars for instance in relay.instances) or (relay.vars,)


def fill(text: str, variables: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The text with its `{{ var }}` filled, and the names of those that are missing."""
    missing: list[str] = []

    def value(found: re.Match[str]) -> str:
        if found[1] not in variables:
            missing.append(found[1])
            return found[0]
        return str(variables[found[1]])

    return VARIABLE.sub(value, text), tuple(missing)


def find_opening(inventory: Inventory, during: str, relay: Relay) -> Opening:
    """The schedule of that name, or the one window that stands for it, in the relay's time zone.

    Raises `InvalidScheduleError`.
    """
    schedule = inventory.schedules.get(during)
    if schedule:
        return parse_opening(schedule)
    return Opening(parse_zone(relay.timezone), parse_windows((during,)))


def always(relay: Relay) -> Opening:
    """Open all the time, in the relay's zone where it has a real one."""
    try:
        zone = parse_zone(relay.timezone)
    except InvalidScheduleError:
        zone = ZoneInfo("UTC")
    return Opening(zone, ((0, 7 * 24 * 60),))
