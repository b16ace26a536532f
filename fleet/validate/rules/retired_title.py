"""A retired title rests until its date: archives and worklists still know it as the old machine."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.schedule import InvalidScheduleError, parse_date
from fleet.validate.context import Context, error

CODES = ("ae-title-retired",)
WAIVABLE = CODES


def check(context: Context) -> Iterator[Problem]:
    """Entities that bear a title before its date; a date that is none never comes."""
    resting = {retired.ae_title: retired for retired in context.inventory.retired_titles}
    if not resting:
        return
    for entity in context.inventory.entities:
        for title, where in ((entity.ae_title, entity), *((further.ae_title, further) for further in entity.also)):
            retired = resting.get(title)
            if retired is None:
                continue
            try:
                if context.today >= parse_date(retired.until):
                    continue
                when = retired.until
            except InvalidScheduleError as wrong:
                when = f"a date that is wrong ({wrong})"
            text = (
                f"the AE title {title!r} is retired until {when} ({retired.location}); archives still file the old"
                " machine's studies under it and would mix the two; choose another, or wait"
            )
            yield error(CODES[0], text, where.at("ae_title"), retired.location, about=(entity.ae_title, title))
