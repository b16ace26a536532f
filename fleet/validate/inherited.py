"""Where a setting was typed that an entity may have inherited, so that it is told once and at the right place."""

from collections.abc import Iterator

from fleet.documents.values import Document
from fleet.errors import Location
from fleet.inventory.model import Entity, VerifySettings
from fleet.validate.context import Context


def each_verify(context: Context) -> Iterator[tuple[Entity, VerifySettings]]:
    """How everybody who listens may be asked: shared settings once, with the first who has them."""
    seen: set[int] = set()
    for entity in context.inventory.entities:
        if not entity.listens:
            continue
        for settings in [instance.verify for instance in entity.instances] or [entity.verify]:
            if id(settings) not in seen:
                seen.add(id(settings))
                yield entity, settings


def find_fleet(context: Context, *steps: str) -> Location:
    """Where something below `fleet:` was typed."""
    return context.inventory.fleet_origin.at(*steps)


def is_typed(entity: Entity, *steps: str) -> bool:
    """Whether the entity's own text has a setting, so that it is not inherited."""
    document = entity.origin.document
    return document is not None and _value(document, (*entity.origin.steps, *steps)) is not _ABSENT


def find_setting(context: Context, entity: Entity, steps: tuple[str, ...], value: object) -> Location:
    """Where the value that an entity has was typed: by itself, its hosts, its site, its kind or the fleet."""
    if is_typed(entity, *steps):
        return entity.at(*steps)
    for instance in entity.instances:
        host = context.inventory.hosts.get(instance.host)
        if host and host.origin.document and _value(host.origin.document, (*host.origin.steps, *steps)) == value:
            return host.at(*steps)
    for layer in (("defaults",), ("fleet", "defaults", "kinds", entity.kind), ("fleet", "defaults")):
        for document in context.documents:
            if layer == ("defaults",) and _value(document, ("site",)) != entity.site:
                continue
            if _value(document, (*layer, *steps)) == value:
                return document.locate((*layer, *steps))
    return entity.location


_ABSENT = object()


def _value(document: Document, steps: tuple[str | int, ...]) -> object:
    found = document.value
    for step in steps:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return found
