"""One title is one entity, in the whole fleet, over main and further titles and all files."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.validate.context import Context, error
from fleet.validate.holders import Holder, reason_against, shared_titles

CODES = ("ae-title-duplicate",)
WAIVABLE = ()  # never: images land on the wrong machine, and nobody is told


def check(context: Context) -> Iterator[Problem]:
    """Each holder after the first, with the first."""
    for group in shared_titles(context):
        by_title: dict[str, list[Holder]] = {}
        for holder in group:
            by_title.setdefault(holder.title, []).append(holder)
        for title, holders in by_title.items():
            if len(holders) < 2:
                continue
            against = reason_against(context, tuple(holders))
            if against is None:
                continue
            first = holders[0]
            for other in holders[1:]:
                yield _problem(title, first, other, against)


def _problem(title: str, first: Holder, other: Holder, against: str) -> Problem:
    who = first.entity.name if first.entity.name != title else f"a {first.entity.kind} in {first.entity.site}"
    text = (
        f"the AE title {title!r} is borne twice: here and at {first.location} ({who}); a PACS resolves a C-MOVE"
        " destination by title and takes the first match, so images silently go to the other machine;"
        f" {f'{against}; ' if against else ''}give one of them a title of its own"
        " (while a vendor is awaited: shared_title)"
    )
    return error(CODES[0], text, other.location, first.location, about=(title,))
