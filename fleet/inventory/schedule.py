"""Opening hours: `Mon-Thu 20:00-07:00`, `Fri 20:00-Mon 07:00`, `22:00-06:00`.

A schedule is a week of local wall time, kept as spans of minutes since Monday 00:00. A window belongs to its
start day and may run into the next ones; no days means every day. On a holiday the whole date, 00:00 to 24:00,
is what the named weekday is, whenever its windows began. So a date has one weekday that it is read as, and
everything else is arithmetic on spans: which hours several schedules leave open to nobody, and which one can
never be the first that is open.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleet.inventory.model import Schedule

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_A_DAY = 24 * 60
MINUTES_A_WEEK = 7 * MINUTES_A_DAY

_DAY = "|".join(DAYS)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_WINDOW = re.compile(
    rf"(?:(?P<first>{_DAY})(?:-(?P<last>{_DAY}))? )?"
    rf"(?P<opens>{_TIME})-(?:(?P<until>{_DAY}) )?(?P<closes>{_TIME}|24:00)"
)

Span = tuple[int, int]  # minutes, the end not included
Spans = tuple[Span, ...]  # sorted, apart from each other


class InvalidScheduleError(ValueError):
    """A window, zone or date that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A schedule that was read: the generic week, and the dates that are read as another weekday."""

    zone: ZoneInfo
    week: Spans
    holidays: frozenset[date] = frozenset()
    holiday_day: int = 6

    def weekday(self, on: date) -> int:
        """The weekday that a date is read as, Monday being 0."""
        return self.holiday_day if on in self.holidays else on.weekday()

    def day(self, weekday: int) -> Spans:
        """What is open on a weekday, in minutes since its midnight."""
        midnight = weekday * MINUTES_A_DAY
        return shift(intersect(self.week, ((midnight, midnight + MINUTES_A_DAY),)), -midnight)


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of one day that nothing serves; `day` is a weekday or a date."""

    day: str
    span: Span
    zone: str

    def __str__(self) -> str:
        return f"{self.day} {format_minute(self.span[0])}-{format_minute(self.span[1])} {self.zone}"


def format_minute(minute: int) -> str:
    """`HH:MM` of a minute of the day."""
    return f"{minute // 60:02}:{minute % 60:02}"


# Reading ---------------------------------------------------------------------------------------------------


def parse_window(text: str) -> Spans:
    """The spans of one window in the week. Raises `InvalidScheduleError`."""
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise InvalidScheduleError(
            f"the window {text!r} is not of the form `22:00-06:00`, `Mon-Thu 20:00-07:00` or `Fri 20:00-Mon 07:00`"
        )
    if found["until"]:
        if found["first"] is None or found["last"]:
            raise InvalidScheduleError(f"the window {text!r} names a day to end on and so needs one day to begin on")
        starts = [DAYS.index(found["first"])]
    else:
        starts = _days(found["first"], found["last"])
    opens, closes = _minute(found["opens"]), _minute(found["closes"])
    return _merge(piece for day in starts for piece in _wrap(*_ends(text, day, opens, closes, found["until"])))


def parse_windows(texts: Iterable[str]) -> Spans:
    """The spans of several windows together. Raises `InvalidScheduleError`."""
    return _merge(span for text in texts for span in parse_window(text))


def parse_opening(schedule: Schedule) -> Opening:
    """A schedule as typed, read. Raises `InvalidScheduleError` at the first thing that cannot be."""
    return Opening(
        zone=parse_zone(schedule.timezone),
        week=parse_windows(schedule.open),
        holidays=frozenset(parse_date(text) for text in schedule.holiday_dates),
        holiday_day=DAYS.index(schedule.holidays_as) if schedule.holidays_as in DAYS else 6,
    )


def parse_zone(name: str) -> ZoneInfo:
    """A zone of the IANA database. Raises `InvalidScheduleError`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidScheduleError(f"{name!r} is no time zone of the IANA database (such as Europe/Lisbon)") from error


def parse_date(text: str) -> date:
    """A date. Raises `InvalidScheduleError`."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidScheduleError(f"{text!r} is no date of the calendar (YYYY-MM-DD)") from error


def _days(first: str | None, last: str | None) -> list[int]:
    if first is None:
        return list(range(7))
    begin = DAYS.index(first)
    count = (DAYS.index(last) - begin) % 7 + 1 if last else 1
    return [(begin + day) % 7 for day in range(count)]


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _ends(text: str, day: int, opens: int, closes: int, until: str | None) -> Span:
    start = day * MINUTES_A_DAY + opens
    end = (DAYS.index(until) if until else day) * MINUTES_A_DAY + closes
    if start == end:
        raise InvalidScheduleError(
            f"the window {text!r} ends when it begins: never, or all the time? A whole day is `00:00-24:00`"
        )
    if end < start:
        end += MINUTES_A_WEEK if until else MINUTES_A_DAY
    return start, end


def _wrap(start: int, end: int) -> Iterator[Span]:
    """A span that runs over Sunday midnight, as two."""
    if end <= MINUTES_A_WEEK:
        yield start, end
    else:
        yield start, MINUTES_A_WEEK
        yield 0, end - MINUTES_A_WEEK


# Arithmetic ------------------------------------------------------------------------------------------------


def _merge(spans: Iterable[Span]) -> Spans:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)


def unite(several: Iterable[Spans]) -> Spans:
    """What lies in any of them."""
    return _merge(span for spans in several for span in spans)


def intersect(mine: Spans, theirs: Spans) -> Spans:
    """What lies in both."""
    pairs = ((max(a, c), min(b, d)) for a, b in mine for c, d in theirs)
    return _merge((start, end) for start, end in pairs if start < end)


def subtract(mine: Spans, theirs: Spans) -> Spans:
    """What lies in the first only."""
    left: list[Span] = []
    for start, end in mine:
        at = start
        for taken_from, taken_to in theirs:
            if taken_to <= at or taken_from >= end:
                continue
            if taken_from > at:
                left.append((at, taken_from))
            at = taken_to
        if at < end:
            left.append((at, end))
    return tuple(left)


def shift(spans: Spans, minutes: int) -> Spans:
    """The same, later."""
    return tuple((start + minutes, end + minutes) for start, end in spans)


def count_minutes(spans: Spans) -> int:
    """How long they are together."""
    return sum(end - start for start, end in spans)


# Questions -------------------------------------------------------------------------------------------------


def is_open(opening: Opening, at: datetime) -> bool:
    """Whether it is open at an instant (with an offset), by the wall clock of its zone."""
    local = at.astimezone(opening.zone)
    minute = opening.weekday(local.date()) * MINUTES_A_DAY + local.hour * 60 + local.minute
    return any(start <= minute < end for start, end in opening.week)


def find_gaps(needed: Opening | None, served: Sequence[Opening], year: int) -> Iterator[Gap]:
    """Every stretch of `needed` (None: always) that none of `served` has open, day by day."""
    wanted = [needed] if needed else []
    for day, zone, spans in _days_of([*wanted, *served], year):
        want: Spans = spans[0] if wanted else ((0, MINUTES_A_DAY),)
        left = subtract(want, unite(spans[len(wanted) :]))
        yield from (Gap(day, span, zone) for span in left)


def fold_gaps(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """Equal stretches of following days as one, `Mon-Fri` or `2026-03-08 to 2026-03-28`."""
    runs: dict[Span, list[tuple[str, str, str]]] = {}
    folded: list[tuple[str, Gap]] = []
    for gap in gaps:
        same = runs.setdefault(gap.span, [])
        if same and _follows(same[-1][1], gap.day):
            same[-1] = (same[-1][0], gap.day, gap.zone)
        else:
            same.append((gap.day, gap.day, gap.zone))
            folded.append((gap.day, gap))
    ends = {(span, first): last for span, found in runs.items() for first, last, _ in found}
    return tuple(replace(gap, day=_join_days(first, ends[gap.span, first])) for first, gap in folded)


def _follows(before: str, day: str) -> bool:
    if before in DAYS or day in DAYS:
        return before in DAYS and day in DAYS and DAYS.index(day) == DAYS.index(before) + 1
    return date.fromisoformat(day) - date.fromisoformat(before) == timedelta(days=1)


def _join_days(first: str, last: str) -> str:
    if first == last:
        return first
    return f"{first}-{last}" if first in DAYS else f"{first} to {last}"


def is_ever_first(candidate: Opening, ahead: Sequence[Opening], year: int, within: Opening | None = None) -> bool:
    """Whether there is a time (while `within` is open) when the candidate is open and none of `ahead` is."""
    limits = [within] if within else []
    for _, _, spans in _days_of([*limits, candidate, *ahead], year):
        mine = spans[len(limits)]
        if limits:
            mine = intersect(mine, spans[0])
        if subtract(mine, unite(spans[len(limits) + 1 :])):
            return True
    return False


def _days_of(openings: Sequence[Opening], year: int) -> Iterator[tuple[str, str, list[Spans]]]:
    """Each kind of day that these openings can have together: its name, its zone, and what is open on it.

    In one zone the wall clock decides: seven weekdays and every holiday. In several zones their distance
    changes over the year, so every day of `year` is laid out in UTC.
    """
    zones = {opening.zone.key for opening in openings}
    if len(zones) > 1:
        yield from _utc_days(openings, year)
        return
    zone = zones.pop() if zones else "UTC"
    for weekday, name in enumerate(DAYS):
        yield name, zone, [opening.day(weekday) for opening in openings]
    for holiday in sorted({day for opening in openings for day in opening.holidays}):
        yield holiday.isoformat(), zone, [opening.day(opening.weekday(holiday)) for opening in openings]


def _utc_days(openings: Sequence[Opening], year: int) -> Iterator[tuple[str, str, list[Spans]]]:
    first = date(year, 1, 1)
    length = (date(year + 1, 1, 1) - first).days
    lines = [_utc_spans(opening, first, length) for opening in openings]
    for number in range(length):
        midnight = number * MINUTES_A_DAY
        day = [shift(intersect(line[number], ((midnight, midnight + MINUTES_A_DAY),)), -midnight) for line in lines]
        yield (first + timedelta(days=number)).isoformat(), "UTC", day


def _utc_spans(opening: Opening, first: date, length: int) -> list[Spans]:
    """For each UTC day, the spans of the local days that touch it, in minutes since `first` in UTC."""
    origin = datetime.combine(first, time(), UTC)
    local_days = []
    for number in range(-1, length + 1):
        on = first + timedelta(days=number)
        local_days.append(
            [
                (_utc_minute(opening, on, start, origin), _utc_minute(opening, on, end, origin))
                for start, end in opening.day(opening.weekday(on))
            ]
        )
    return [
        _merge(span for day in local_days[number : number + 3] for span in day if span[0] < span[1])
        for number in range(length)
    ]


def _utc_minute(opening: Opening, on: date, minute: int, origin: datetime) -> int:
    days, minute = divmod(minute, MINUTES_A_DAY)
    local = datetime.combine(on + timedelta(days=days), time(minute // 60, minute % 60), opening.zone)
    return int((local.astimezone(UTC) - origin).total_seconds()) // 60
