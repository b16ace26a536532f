"""A relay has routes, and no two of one name."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Route
from fleet.validate.context import Context, error
from fleet.validate.routes import fill, relays_of, variables_of

CODES = ("relay-without-routes", "relay-route-duplicate", "relay-edit-variable")
WAIVABLE = False


def check(context: Context) -> Iterator[Problem]:
    """Routes of each relay over all texts."""
    routes: dict[str, dict[str, Route]] = {}
    told: set[tuple[str, int]] = set()
    for text in context.inventory.relays:
        for relay in relays_of(context, text):
            known = routes.setdefault(relay.name, {})
            for route in text.routes:
                first = known.setdefault(route.name, route)
                if first is not route and (route.name, id(route)) not in told:
                    told.add((route.name, id(route)))
                    message = (
                        f"{relay.name} has two routes called {route.name} (the first at {first.location}); its spool"
                        " and its status could not tell them apart; rename one"
                    )
                    at = route.at("name")
                    yield error(
                        "relay-route-duplicate", message, at, first.location, about=(relay.ae_title, route.name)
                    )
    for entity in context.inventory.entities:
        if entity.engine == "relay" and entity.name not in routes:
            message = (
                f"{entity.name} is a relay without routes; what is sent to it would be refused, or stay on it; select"
                " it in `relays`"
            )
            yield error("relay-without-routes", message, entity.location, about=(entity.ae_title,))
    yield from _edits(context)


def _edits(context: Context) -> Iterator[Problem]:
    told: set[tuple[int, int, str]] = set()
    for text in context.inventory.relays:
        for relay in relays_of(context, text):
            for route in text.routes:
                for index, edit in enumerate(route.edit):
                    value = edit.get("value", "")
                    for name in {name for each in variables_of(relay) for name in fill(value, each)[1]}:
                        if (id(route), index, name) in told:
                            continue
                        told.add((id(route), index, name))
                        message = (
                            f"{relay.name} ({relay.location}) has no variable {name!r}, which this edit is filled with;"
                            " the route could not be rendered; give it one under `vars`"
                        )
                        at = route.at("edit", index, "value")
                        yield error("relay-edit-variable", message, at, relay.location, about=(relay.ae_title, name))
