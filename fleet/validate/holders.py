"""Who bears which title, and whether two may bear one for a while.

An archive resolves a C-MOVE destination by title and takes the first row that matches, and several fold case
when they compare. So holders are gathered by the folded title; whether a pair is one title or two that differ
only in case is the rules' distinction. `shared_title` is the way out while a vendor is awaited: all holders
but one bear it, it has not expired, and no archive can move images to two of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.dicom.ae_title import fold_ae_title
from fleet.errors import Location
from fleet.inventory.model import Entity, Placed
from fleet.validate.context import Context, is_over


@dataclass(frozen=True, slots=True)
class Holder:
    """One title at one place of one entity."""

    title: str
    entity: Entity
    where: Placed

    @property
    def location(self) -> Location:
        """Where the title was typed."""
        return self.where.at("ae_title")


def shared_titles(context: Context) -> Iterator[tuple[Holder, ...]]:
    """The holders of every title, case folded, that has more than one; in file order."""
    twice = _folded_twice(context)
    if not twice:
        return
    groups: dict[str, list[Holder]] = {}
    for entity in context.inventory.entities:
        for title, where in ((entity.ae_title, entity), *((each.ae_title, each) for each in entity.also)):
            key = fold_ae_title(title)
            if key in twice:
                groups.setdefault(key, []).append(Holder(title, entity, where))
    yield from map(tuple, groups.values())


def _folded_twice(context: Context) -> set[str]:
    """Folded titles that stand more than once: in a sound fleet none, and this is all that is done."""
    seen: set[str] = set()
    twice: set[str] = set()
    for entity in context.inventory.entities:
        for title in entity.titles if entity.also else (entity.ae_title,):
            key = fold_ae_title(title)
            (twice if key in seen else seen).add(key)
    return twice


def reason_against(context: Context, holders: tuple[Holder, ...]) -> str | None:
    """Why these may not share a title, in words; None where `shared_title` allows it."""
    entities = {id(holder.entity): holder.entity for holder in holders}
    excused = [entity for entity in entities.values() if entity.shared_title]
    if len(entities) < 2:
        return "one entity bears it twice"
    if len(excused) < len(entities) - 1:
        return "" if not excused else "only some of them say shared_title; all but one have to"
    for entity in excused:
        shared = entity.shared_title
        if shared and is_over(shared.until, context.today):
            return f"the shared_title of {entity.name} ended on {shared.until} ({shared.reason})"
    archive = _archive_with_two(context, tuple(entities.values()))
    if archive:
        return f"shared_title does not help here, since {archive.name} lists both and could move images to either"
    return None


def _archive_with_two(context: Context, entities: tuple[Entity, ...]) -> Entity | None:
    """An archive whose table would list two of them, and that at least one asks for images.

    A table has no column for the service: whoever is listed can be the destination of a C-MOVE.
    """
    names = {entity.name: entity for entity in entities}
    listed: dict[str, set[int]] = {}
    asking: set[str] = set()
    archives: dict[str, Entity] = {}
    for resolved in context.peers.flows:
        sources = [source for source in resolved.sources if source.name in names]
        if not sources:
            continue
        for archive in resolved.destinations:
            if "query-retrieve" not in archive.provides:
                continue
            here = [
                s for s in sources if s is not archive and (not resolved.flow.within_site or s.site == archive.site)
            ]
            if not here:
                continue
            archives[archive.name] = archive
            listed.setdefault(archive.name, set()).update(id(source) for source in here)
            if "query-retrieve" in resolved.flow.services:
                asking.add(archive.name)
    return next((archives[name] for name in sorted(asking) if len(listed[name]) > 1), None)
