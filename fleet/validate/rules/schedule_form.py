"""Schedules that can be read: windows, zone, dates of the calendar."""

from collections.abc import Callable, Iterator

from fleet.errors import Location, Problem
from fleet.inventory.schedule import InvalidScheduleError, parse_date, parse_window, parse_zone
from fleet.validate.context import Context, error

CODES = ("schedule-unreadable",)
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Every window, zone and date of every schedule, and the zones of relays."""
    for name, schedule in context.inventory.schedules.items():
        yield from _judge(name, parse_zone, schedule.timezone, schedule.at("timezone"))
        for index, text in enumerate(schedule.open):
            yield from _judge(name, parse_window, text, schedule.at("open", index))
        for index, text in enumerate(schedule.holiday_dates):
            yield from _judge(name, parse_date, text, schedule.at("holidays", "dates", index))
    for relay in context.inventory.relays:
        yield from _judge(relay.entity, parse_zone, relay.timezone, relay.at("timezone"))


def _judge(name: str, parse: Callable[[str], object], text: str, at: Location) -> Iterator[Problem]:
    try:
        parse(text)
    except InvalidScheduleError as wrong:
        message = (
            f"{wrong}; nobody could say when {name} is open, and what waits for it would wait for ever; correct it"
        )
        yield error(CODES[0], message, at, about=(name,))
