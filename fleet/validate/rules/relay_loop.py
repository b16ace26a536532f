"""No route leads back to where it began, directly or through other relays and virtual services."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.validate.context import Context, error
from fleet.validate.routes import Hop, hops

CODES = ("relay-loop",)
WAIVABLE = CODES  # conditions that exclude each other can make a loop that nothing walks


def check(context: Context) -> Iterator[Problem]:
    """Each loop once, at the hop from its first relay in file order."""
    ways: dict[str, dict[str, Hop]] = {}
    for hop in hops(context):
        if hop.entity:
            ways.setdefault(hop.relay.name, {}).setdefault(hop.entity.name, hop)
    told: set[frozenset[str]] = set()
    for start in ways:
        loop = _shortest_loop(ways, start)
        members = frozenset(hop.relay.name for hop in loop)
        if loop and members not in told:
            told.add(members)
            yield _problem(loop)


def _shortest_loop(ways: dict[str, dict[str, Hop]], start: str) -> list[Hop]:
    """The hops from a relay back to itself, breadth first; empty where there is no way."""
    came: dict[str, Hop] = {}
    queue = [start]
    for name in queue:
        for target, hop in ways.get(name, {}).items():
            if target == start:
                loop = [hop]
                while loop[0].relay.name != start:
                    loop.insert(0, came[loop[0].relay.name])
                return loop
            if target in ways and target not in came:
                came[target] = hop
                queue.append(target)
    return []


def _problem(loop: list[Hop]) -> Problem:
    first = loop[0]
    names = " → ".join([*(hop.relay.name for hop in loop), first.relay.name])
    places = ", ".join(str(hop.destination.location) for hop in loop)
    text = (
        f"these routes lead in a circle: {names} ({places}); every study would be sent round for ever and fill the"
        " spools; remove one of the hops"
    )
    also = tuple(hop.destination.location for hop in loop[1:])
    about = tuple(hop.relay.ae_title for hop in loop)
    return error("relay-loop", text, first.destination.at("ae_title"), *also, about=about)
