"""A name means one thing: selectors, plans and files on hosts are keyed by it."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Entity
from fleet.validate.context import Context, error

CODES = ("entity-name-duplicate", "group-name-taken")
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Names twice, names that are another's title, and groups that nobody can mean."""
    first: dict[str, Entity] = {}
    titles = context.inventory.by_title
    for entity in context.inventory.entities:
        name = entity.name
        known = first.setdefault(name, entity)
        if name == entity.ae_title and (known is entity or _are_titles(known, entity)):
            continue  # two titles: the rule of titles tells it
        other = known if known is not entity else titles.get(name)
        if other is not None and other is not entity:
            text = (
                f"the name {name!r} is also {'the name' if other is known else 'a title'} of the {other.kind} at"
                f" {other.location}; a selector, a plan or a sheet for one of them would mean the other; rename one"
            )
            at = entity.at("name" if name != entity.ae_title else "ae_title")
            yield error(CODES[0], text, at, other.location, about=(entity.ae_title, name))
    yield from _groups(context)


def _are_titles(one: Entity, other: Entity) -> bool:
    """Whether both have their title for a name; where they may share it, their names have to tell them apart."""
    return one.name == one.ae_title and not (one.shared_title or other.shared_title)


def _groups(context: Context) -> Iterator[Problem]:
    inventory = context.inventory
    for group in inventory.groups:
        taken = inventory.find_entity(group) or inventory.hosts.get(group)
        if taken:
            text = (
                f"the group {group!r} can never be meant: {taken.name} ({taken.location}) bears this word, and a title"
                " or name comes first; whoever types it would act on that one alone; rename the group"
            )
            yield error(CODES[1], text, inventory.group_origins[group].at(), taken.location, about=(group,))
