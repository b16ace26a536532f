"""Titles that differ only in case are one title to archives that fold it (Orthanc does, by default)."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.validate.context import Context, error
from fleet.validate.holders import reason_against, shared_titles

CODES = ("ae-title-case-twin",)
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """The first holder of each further spelling, with the first of all."""
    for holders in shared_titles(context):
        first = holders[0]
        told = {first.title}
        for other in holders[1:]:
            if other.title in told:
                continue
            told.add(other.title)
            against = reason_against(context, (first, other))
            if against is None:
                continue
            text = (
                f"the AE titles {other.title!r} and {first.title!r} ({first.location}) differ only in case; an archive"
                " that folds case takes them for one and sends images for the one to the other;"
                f" {f'{against}; ' if against else ''}rename one of them"
            )
            yield error(CODES[0], text, other.location, first.location, about=(other.title, first.title))
