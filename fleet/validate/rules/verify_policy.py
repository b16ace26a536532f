"""Who is not probed has a reason, and maintenance has an end."""

from collections.abc import Iterator
from datetime import datetime

from fleet.errors import Location, Problem
from fleet.inventory.model import Entity, Maintenance
from fleet.validate.context import Context, error
from fleet.validate.inherited import each_verify, find_setting

CODES = ("probe-without-reason", "maintenance-times")
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Each entity's merged settings; an inherited one is told once, where it was typed."""
    told: set[Location] = set()
    for entity, settings in each_verify(context):
        if settings.probe != "always" and not settings.reason:
            at = find_setting(context, entity, ("verify", "probe"), settings.probe)
            if at not in told:
                told.add(at)
                yield _unreasoned(entity, settings.probe, at)
        for maintenance in settings.maintenance:
            if maintenance.location not in told:
                told.add(maintenance.location)
                yield from _times(entity, maintenance)


def _unreasoned(entity: Entity, probe: str, at: Location) -> Problem:
    text = (
        f"verify.probe of {entity.name} is {probe} without a `reason`; when it falls silent nobody is told, and nobody"
        " will remember why; add `reason` beside it"
    )
    return error("probe-without-reason", text, at, about=(entity.ae_title,))


def _times(entity: Entity, maintenance: Maintenance) -> Iterator[Problem]:
    times: list[datetime] = []
    for key, text in (("from", maintenance.starts_at), ("until", maintenance.ends_at)):
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            parsed = None
        if parsed is None or parsed.tzinfo is None:
            what = "is no time" if parsed is None else "has no offset from UTC"
            message = (
                f"`{key}` of a maintenance of {entity.name}, {text!r}, {what}; a fault could be taken for maintenance,"
                " or the reverse; type it as 2026-11-30T18:00:00+00:00"
            )
            yield error("maintenance-times", message, maintenance.at(key), about=(entity.ae_title,))
        else:
            times.append(parsed)
    if len(times) == 2 and times[1] <= times[0]:
        message = (
            f"a maintenance of {entity.name} ends ({maintenance.ends_at}) before it begins ({maintenance.at('from')});"
            " it would never hold, and the silence be reported; exchange the two"
        )
        at = maintenance.at("until")
        yield error("maintenance-times", message, at, maintenance.at("from"), about=(entity.ae_title,))
