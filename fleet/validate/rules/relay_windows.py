"""At every moment a route has a destination that is open, or says `otherwise`; and every destination has a moment.

A route with `when.during` stands for its hours only; another route of the same relay that asks for the same or
less may serve the rest. Time is the wall clock of the schedules' zone.
"""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Inventory, Relay, Route, RouteDestination
from fleet.inventory.schedule import InvalidScheduleError, Opening, find_gaps, fold_gaps, is_ever_first
from fleet.validate.context import Context, error, few
from fleet.validate.routes import always, find_opening

CODES = ("relay-route-gap", "relay-route-unreachable")
WAIVABLE = ()  # `otherwise` is the way out


def check(context: Context) -> Iterator[Problem]:
    """Each route of each text; what cannot be read is told elsewhere."""
    year = context.today.year
    for relay in context.inventory.relays:
        for route in relay.routes:
            try:
                yield from _gap(context.inventory, relay, route, year)
                yield from _unreachable(context.inventory, relay, route, year)
            except InvalidScheduleError:
                continue


def _opening(inventory: Inventory, relay: Relay, during: str | None) -> Opening:
    return find_opening(inventory, during, relay) if during else always(relay)


def _gap(inventory: Inventory, relay: Relay, route: Route, year: int) -> Iterator[Problem]:
    if route.otherwise or not route.primary:
        return
    limit = _opening(inventory, relay, route.when["during"]) if "during" in route.when else None
    gaps = find_gaps(limit, [_opening(inventory, relay, each.during) for each in route.primary], year)
    told = [str(gap) for gap in fold_gaps(gaps)]
    if not told and limit is not None:
        others = [other for other in relay.routes if _asks_no_more(other, route)]
        gaps = find_gaps(None, [_opening(inventory, relay, other.when.get("during")) for other in others], year)
        told = [str(gap) for gap in fold_gaps(gaps)]
    if told:
        text = (
            f"the route {route.name} leaves {'a gap' if len(told) == 1 else 'gaps'}: nobody serves {few(told, 14)};"
            " what arrives then would go nowhere; widen a window, add a destination, or say `otherwise: hold` (or skip)"
        )
        at = route.at("to", "primary") if limit is None else route.at("when", "during")
        yield error("relay-route-gap", text, at, about=(relay.entity, route.name))


def _asks_no_more(other: Route, route: Route) -> bool:
    """Whether `other` takes all that `route` takes, time aside."""
    return all(route.when.get(key) == value for key, value in other.when.items() if key != "during")


def _unreachable(inventory: Inventory, relay: Relay, route: Route, year: int) -> Iterator[Problem]:
    limit = _opening(inventory, relay, route.when["during"]) if "during" in route.when else None
    final: list[RouteDestination] = []  # those ahead that keep what they take
    for destination in route.primary:
        mine = _opening(inventory, relay, destination.during)
        ahead = [_opening(inventory, relay, each.during) for each in final]
        if not is_ever_first(mine, ahead, year, limit):
            yield _never(relay, route, destination, final)
        if destination.backup_after_s is None:
            final.append(destination)


def _never(relay: Relay, route: Route, destination: RouteDestination, ahead: list[RouteDestination]) -> Problem:
    others = ", ".join(f"{each.ae_title} ({each.location})" for each in ahead)
    why = (
        f"whenever it is open, {others} is too and comes first" if ahead else "it is never open while the route stands"
    )
    text = (
        f"{destination.ae_title} can never be reached by the route {route.name}: {why}; whoever counts on it gets"
        " nothing; reorder them, give the first a `during` or a `backup_after`, or remove it"
    )
    also = tuple(each.location for each in ahead)
    return error("relay-route-unreachable", text, destination.location, *also, about=(relay.entity, route.name))
