"""A `shared_title` whose twin is gone has done its work; left standing it would hide the next duplicate."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.schedule import InvalidScheduleError, parse_date
from fleet.validate.context import Context, error, warning
from fleet.validate.holders import shared_titles

CODES = ("shared-title-without-twin", "shared-title-date")
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Entities that say shared_title."""
    bearers = [entity for entity in context.inventory.entities if entity.shared_title]
    if not bearers:
        return
    twins = {id(holder.entity) for holders in shared_titles(context) for holder in holders}
    for entity in bearers:
        if id(entity) not in twins and not context.inventory.incomplete:
            text = (
                f"{entity.name} has a shared_title, and nobody shares a title with it any more; left standing it would"
                " let the next duplicate pass; remove it"
            )
            yield warning(CODES[0], text, entity.at("shared_title"), about=(entity.ae_title,))
        try:
            parse_date(entity.shared_title.until if entity.shared_title else "")
        except InvalidScheduleError as wrong:
            text = f"the shared_title of {entity.name}: {wrong}; it counts as expired; type a real date"
            yield error(CODES[1], text, entity.at("shared_title", "until"), about=(entity.ae_title,))
