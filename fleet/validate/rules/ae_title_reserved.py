"""Titles that a dcmqrscp.cfg would read as its own words (tried: a group called ANY opens the archive)."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Entity, Inventory
from fleet.validate.context import Context, error

CODES = ("ae-title-reserved",)
WAIVABLE = False

RESERVED = frozenset({"any", "begin", "end", "hosttable", "aetable", "vendortable", "rw", "r", "w", "wr"})


def check(context: Context) -> Iterator[Problem]:
    """Reserved titles, where a dcmqrscp of this inventory would have to carry them."""
    for entity in context.inventory.entities:
        for title in entity.titles:
            if title.casefold() in RESERVED:
                server = _server(context, entity)
                if server:
                    text = (
                        f"{title} is a word of dcmqrscp's own file, which {server.name} ({server.location}) is served"
                        " from: the archive could be opened to everybody, or stop; give it another title"
                    )
                    yield error(CODES[0], text, entity.at("ae_title"), server.location, about=(entity.ae_title,))
    yield from _probers(context.inventory)


def _probers(inventory: Inventory) -> Iterator[Problem]:
    server = next((entity for entity in inventory.entities if entity.engine == "dcmqrscp"), None)
    for prober in inventory.probers:
        if server and prober.ae_title.casefold() in RESERVED:
            text = (
                f"the prober's title {prober.ae_title} is a word of dcmqrscp's own file, where every prober is listed:"
                f" {server.name} ({server.location}) could be opened to everybody, or stop; give it another title"
            )
            yield error(CODES[0], text, prober.at("ae_title"), server.location, about=(prober.ae_title,))


def _server(context: Context, entity: Entity) -> Entity | None:
    """The dcmqrscp that serves the entity or would list it as a peer."""
    if entity.engine == "dcmqrscp":
        return entity
    return next(
        (peer.entity for peer in context.peers.called_by(entity) if peer.entity and peer.entity.engine == "dcmqrscp"),
        None,
    )
