"""Opening hours by the wall clock of their zone, evaluated from the rendered form.

A schedule is a week of local time, kept as spans of minutes since Monday 00:00; a window belongs to its start day
and may run into the next ones. A holiday is, from 00:00 to 24:00, what the named weekday is. An instant is open
when the wall clock then shows a minute of a span: so a window inside the hour that vanishes in spring is empty
that night, and one inside the hour that comes twice is open twice. What changes lies at the spans' ends, at
midnights and where the clock is turned; between two of those nothing does.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleet.errors import FleetError
from fleet.relay.values import Schedule

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY: Final = 24 * 60
WEEK: Final = 7 * DAY
HORIZON: Final = timedelta(days=400)
_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_NAMES: Final = "|".join(DAYS)
_WINDOW: Final = re.compile(
    rf"(?:(?P<first>{_NAMES})(?:-(?P<last>{_NAMES}))? )?"
    rf"(?P<opens>{_TIME})-(?:(?P<until>{_NAMES}) )?(?P<closes>{_TIME}|24:00)"
)

Span = tuple[int, int]  # minutes since Monday 00:00, the end not included


class UnreadableScheduleError(FleetError):
    """A schedule of the configuration that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Hours:
    """A schedule that was read; None stands for always wherever one may be missing."""

    zone: ZoneInfo
    week: tuple[Span, ...]
    holidays: frozenset[date]
    holiday_day: int

    def weekday(self, on: date) -> int:
        """The weekday that a date is read as, Monday being 0."""
        return self.holiday_day if on in self.holidays else on.weekday()

    def day(self, on: date) -> tuple[Span, ...]:
        """What is open on a date, in minutes since its midnight."""
        midnight = self.weekday(on) * DAY
        cut = ((max(start - midnight, 0), min(end - midnight, DAY)) for start, end in self.week)
        return tuple((start, end) for start, end in cut if start < end)


@dataclass(frozen=True, slots=True)
class Vanished:
    """A window that is empty on one night, since its local time does not exist then."""

    on: date
    span: Span
    zone: str


@lru_cache(maxsize=1024)
def parse_hours(schedule: Schedule) -> Hours:
    """A schedule of the configuration, read. Raises `UnreadableScheduleError` at the first thing that cannot be."""
    if schedule.holidays_as is not None and schedule.holidays_as not in DAYS:
        raise UnreadableScheduleError(f"holidays are read as {schedule.holidays_as!r}, which is no weekday of {DAYS}")
    try:
        holidays = frozenset(date.fromisoformat(text) for text in schedule.holiday_dates)
    except ValueError as error:
        raise UnreadableScheduleError(f"a holiday is no date of the calendar: {error}") from error
    return Hours(
        zone=_zone(schedule.timezone),
        week=_merge(span for text in schedule.open for span in _parse_window(text)),
        holidays=holidays if schedule.holidays_as else frozenset(),
        holiday_day=DAYS.index(schedule.holidays_as) if schedule.holidays_as else 6,
    )


def is_open(hours: Hours | None, at: datetime) -> bool:
    """Whether it is open at an instant."""
    if hours is None:
        return True
    local = at.astimezone(hours.zone)
    minute = hours.weekday(local.date()) * DAY + local.hour * 60 + local.minute
    return any(start <= minute < end for start, end in hours.week)


def find_changes(hours: Hours | None, begin: datetime, end: datetime) -> Iterator[datetime]:
    """Every instant in (begin, end) when it may open or close, in order; always UTC."""
    if hours is None:
        return
    first, last = begin.astimezone(hours.zone).date(), end.astimezone(hours.zone).date()
    for number in range(-1, (last - first).days + 2):
        on = first + timedelta(days=number)
        yield from (instant for instant in _edges(hours, on) if begin < instant < end)


def next_opening(hours: Hours | None, at: datetime) -> datetime | None:
    """The first instant from `at` on when it is open; None where there is none in more than a year."""
    if is_open(hours, at):
        return at
    return next((instant for instant in find_changes(hours, at, at + HORIZON) if is_open(hours, instant)), None)


def find_vanished(hours: Hours, begin: datetime, end: datetime) -> Iterator[Vanished]:
    """The windows that are wholly inside an hour which does not exist, from one instant to another."""
    on, last = begin.astimezone(hours.zone).date(), end.astimezone(hours.zone).date()
    while on <= last:
        turned = _turn(hours.zone, on)
        for start, stop in hours.day(on) if turned else ():
            if not any(is_open(hours, instant) for instant in _minutes(hours, on, start, stop)):
                yield Vanished(on, (start, stop), hours.zone.key)
        on += timedelta(days=1)


def format_span(span: Span) -> str:
    """`22:00-24:00` of minutes of a day."""
    return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in span)


# Instants --------------------------------------------------------------------------------------------------


def _edges(hours: Hours, on: date) -> list[datetime]:
    """The instants at which a local date can open or close."""
    minutes = {0, *(minute for span in hours.day(on) for minute in span)}
    found = {instant for minute in minutes for instant in _instants(hours.zone, on, minute)}
    turned = _turn(hours.zone, on)
    return sorted(found | {turned} if turned else found)


def _instants(zone: ZoneInfo, on: date, minute: int) -> Iterator[datetime]:
    """Both instants that a local time may stand for."""
    day = on + timedelta(days=minute // DAY)
    for fold in (0, 1):
        local = datetime.combine(day, time(minute % DAY // 60, minute % 60, fold=fold), zone)
        yield local.astimezone(UTC)


@lru_cache(maxsize=4096)
def _turn(zone: ZoneInfo, on: date) -> datetime | None:
    """The instant of a date at which the zone turns its clock, by bisection."""
    low = datetime.combine(on, time(), zone).astimezone(UTC)
    high = datetime.combine(on + timedelta(days=1), time(fold=1), zone).astimezone(UTC)
    before = low.astimezone(zone).utcoffset()
    if before == high.astimezone(zone).utcoffset():
        return None
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def _minutes(hours: Hours, on: date, start: int, stop: int) -> Iterator[datetime]:
    """The instants whose wall clock may show one of these minutes of a date."""
    for minute in range(start, stop):
        for instant in _instants(hours.zone, on, minute):
            local = instant.astimezone(hours.zone)
            if local.date() == on and start <= local.hour * 60 + local.minute < stop:
                yield instant


# Reading ---------------------------------------------------------------------------------------------------


def _parse_window(text: str) -> Iterator[Span]:
    found = _WINDOW.fullmatch(text)
    if found is None or (found["until"] and (found["first"] is None or found["last"])):
        raise UnreadableScheduleError(
            f"the window {text!r} is not of the form `22:00-06:00`, `Mon-Thu 20:00-07:00` or `Fri 20:00-Mon 07:00`"
        )
    opens, closes = _minute(found["opens"]), _minute(found["closes"])
    for day in _start_days(found["first"], found["last"]):
        start = day * DAY + opens
        end = (DAYS.index(found["until"]) if found["until"] else day) * DAY + closes
        if start == end:
            raise UnreadableScheduleError(f"the window {text!r} ends when it begins; a whole day is `00:00-24:00`")
        if end < start:
            end += WEEK if found["until"] else DAY
        yield start, min(end, WEEK)
        if end > WEEK:
            yield 0, end - WEEK


def _start_days(first: str | None, last: str | None) -> Iterable[int]:
    if first is None:
        return range(7)
    begin = DAYS.index(first)
    count = (DAYS.index(last) - begin) % 7 + 1 if last else 1
    return [(begin + number) % 7 for number in range(count)]


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _merge(spans: Iterable[Span]) -> tuple[Span, ...]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnreadableScheduleError(
            f"{name!r} is no time zone that this host knows (is the package tzdata installed?)"
        ) from error
