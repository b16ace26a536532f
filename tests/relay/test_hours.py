"""Opening hours against a naive oracle, minute by minute, and against the inventory's own reading. # T71"""

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.inventory import model
from fleet.inventory import schedule as inventory_schedule
from fleet.relay.route.hours import (
    DAYS,
    UnreadableScheduleError,
    find_changes,
    find_vanished,
    is_open,
    next_opening,
    parse_hours,
)
from fleet.relay.values import Schedule

# Each with the instants around which its clock is turned: both nights of 2026 (or 2027, in the south).
NIGHTS = {
    "Europe/Lisbon": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "Australia/Lord_Howe": ("2026-10-03T15:30", "2026-04-04T15:00"),  # half an hour only
}
SOAK_ZONES = (*NIGHTS, "America/Santiago", "Africa/Cairo", "Asia/Kolkata", "Pacific/Chatham", "Asia/Beirut",
              "America/St_Johns", "Africa/Casablanca")  # fmt: skip
WINDOWS = (
    ("Mon-Fri 08:00-20:00",),
    ("Mon-Thu 20:00-08:00", "Fri 20:00-Mon 08:00"),
    ("22:00-06:00",),
    ("01:00-02:00",),
    ("Sun 01:15-01:45", "Sun 02:10-02:20", "Sat 23:30-24:00"),
    ("Wed 00:00-24:00",),
    ("Fri 20:00-Thu 19:59",),
)


def schedule(*windows: str, zone: str = "Europe/Lisbon", dates: tuple[str, ...] = (), read_as: str = "Sun") -> Schedule:
    return Schedule(zone, windows, read_as if dates else None, dates)


def oracle(wanted: Schedule, at: datetime) -> bool:
    """Each window by itself, laid from each of the days on which it may have begun; no spans, no arithmetic."""
    local = at.astimezone(ZoneInfo(wanted.timezone))
    today = _weekday(wanted, local.date())
    clock = f"{local.hour:02}:{local.minute:02}"
    return any(_window_is_open(text, today, clock) for text in wanted.open)


def _weekday(wanted: Schedule, on: date) -> int:
    if wanted.holidays_as and on.isoformat() in wanted.holiday_dates:
        return DAYS.index(wanted.holidays_as)
    return on.weekday()


def _window_is_open(text: str, today: int, clock: str) -> bool:
    days, times = text.split(" ", 1) if text[:3] in DAYS else ("Mon-Sun", text)
    opens, closes = times.split("-")
    until = closes.split(" ")[0] if " " in closes else None
    closes = closes.rsplit(" ", maxsplit=1)[-1]
    first, _, last = days.partition("-")
    starts, day = [DAYS.index(first)], DAYS.index(first)
    while last and day != DAYS.index(last):
        day = (day + 1) % 7
        starts.append(day)
    if until:
        return _runs_over_days((starts[0], opens), (DAYS.index(until), closes), today, clock)
    if opens < closes:
        return today in starts and opens <= clock < closes
    return (today in starts and clock >= opens) or ((today - 1) % 7 in starts and clock < closes)


def _runs_over_days(begin: tuple[int, str], until: tuple[int, str], today: int, clock: str) -> bool:
    (start, opens), (end, closes) = begin, until
    day, inside = start, []
    while True:
        inside.append(day)
        day = (day + 1) % 7
        if day == end:
            break
    if today == start and today != end:
        return clock >= opens
    return today in inside or (today == end and clock < closes)


def minutes_of(begin: datetime, end: datetime) -> Iterator[datetime]:
    while begin < end:
        yield begin
        begin += timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize(("zone", "turn"), [(zone, turn) for zone, turns in NIGHTS.items() for turn in turns])
def test_every_minute_of_a_night_of_the_clock_is_as_the_oracle_says(
    zone: str, turn: str, windows: tuple[str, ...]
) -> None:
    wanted = schedule(*windows, zone=zone)
    hours, middle = parse_hours(wanted), utc(turn)
    assert (
        middle.astimezone(hours.zone).utcoffset() != (middle - timedelta(minutes=1)).astimezone(hours.zone).utcoffset()
    ), "the table of nights names the very minute"
    for at in minutes_of(middle - timedelta(hours=26), middle + timedelta(hours=26)):
        assert is_open(hours, at) == oracle(wanted, at), at


@pytest.mark.parametrize("zone", NIGHTS)
@pytest.mark.parametrize("windows", WINDOWS)
def test_every_change_over_a_night_is_found_to_the_minute(zone: str, windows: tuple[str, ...]) -> None:
    wanted = schedule(*windows, zone=zone)
    hours = parse_hours(wanted)
    for turn in NIGHTS[zone]:
        begin, end = utc(turn) - timedelta(hours=40), utc(turn) + timedelta(hours=40)
        naive = [
            at
            for at in minutes_of(begin + timedelta(minutes=1), end)
            if oracle(wanted, at) != oracle(wanted, at - timedelta(minutes=1))
        ]
        found = list(find_changes(hours, begin, end))
        assert set(naive) <= set(found), "a change was missed"
        assert found == sorted(found)


TIMES = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")


@st.composite
def windows_of(draw: st.DrawFn) -> str:
    opens, closes = draw(TIMES), draw(TIMES.filter(lambda text: text != "00:00"))
    first, last = draw(st.sampled_from(DAYS)), draw(st.sampled_from(DAYS))
    kind = draw(st.sampled_from(("every", "day", "days", "until")))
    if opens == closes:
        closes = "24:00"
    if kind == "until":
        until = last if last != first else DAYS[(DAYS.index(first) + 1) % 7]
        return f"{first} {opens}-{until} {closes}"
    days = {"every": "", "day": f"{first} ", "days": f"{first}-{last} "}[kind]
    return f"{days}{opens}-{closes}"


SCHEDULES = st.builds(
    lambda windows, zone, dates, read_as: schedule(*windows, zone=zone, dates=tuple(dates), read_as=read_as),
    st.lists(windows_of(), min_size=1, max_size=4),
    st.sampled_from(SOAK_ZONES),
    st.lists(st.dates(date(2026, 1, 1), date(2027, 12, 31)).map(date.isoformat), max_size=5, unique=True),
    st.sampled_from(DAYS),
)
INSTANTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is `timezones`


@given(SCHEDULES, INSTANTS)
def test_the_relay_and_the_inventory_read_a_schedule_alike(wanted: Schedule, at: datetime) -> None:
    typed = model.Schedule("s", wanted.timezone, wanted.open, wanted.holidays_as, wanted.holiday_dates)
    expected = inventory_schedule.is_open(inventory_schedule.parse_opening(typed), at)
    assert is_open(parse_hours(wanted), at) == expected == oracle(wanted, at)


@given(SCHEDULES, INSTANTS)
@settings(deadline=None)
def test_until_the_next_opening_nothing_opens(wanted: Schedule, at: datetime) -> None:
    hours = parse_hours(wanted)
    found = next_opening(hours, at)
    assert found is not None, "a window comes back every week"
    assert oracle(wanted, found)
    checked = [*find_changes(hours, at, found), at]
    assert found == at or not any(oracle(wanted, edge) for edge in checked)


NO_WINDOWS = ("Mon-Fri 8:00-20:00", "25:00-26:00", "Mon 08:00-08:00", "Mon-Tue 08:00-Wed 09:00", "08:00-Wed 09:00",
              "", "08:00-20:00\n", "Mon-Fri  08:00-20:00", "24:00-01:00")  # fmt: skip


@pytest.mark.parametrize("text", NO_WINDOWS)
def test_what_is_no_window_here_is_none_in_the_inventory_either(text: str) -> None:
    with pytest.raises(UnreadableScheduleError):
        parse_hours(schedule(text))
    with pytest.raises(inventory_schedule.InvalidScheduleError):
        inventory_schedule.parse_window(text)


def test_a_zone_that_the_host_does_not_know_and_a_date_of_no_calendar_are_refused_by_name() -> None:
    with pytest.raises(UnreadableScheduleError, match="Europe/Atlantis"):
        parse_hours(schedule("08:00-09:00", zone="Europe/Atlantis"))
    with pytest.raises(UnreadableScheduleError, match="no date"):
        parse_hours(schedule("08:00-09:00", dates=("2026-02-30",)))


def test_a_window_inside_the_hour_that_vanishes_is_empty_that_night_and_said_so() -> None:
    hours = parse_hours(schedule("01:15-01:45"))
    night = utc("2026-03-28T20:00"), utc("2026-03-29T12:00")
    assert not any(is_open(hours, at) for at in minutes_of(*night))
    gone = list(find_vanished(hours, *night))
    assert [(each.on, each.span, each.zone) for each in gone] == [(date(2026, 3, 29), (75, 105), "Europe/Lisbon")]
    assert not list(find_vanished(hours, utc("2026-10-20T00:00"), utc("2026-11-20T00:00"))), "autumn has it twice"


def test_a_holiday_is_a_sunday_from_midnight_to_midnight_whenever_its_window_began() -> None:
    night = parse_hours(schedule("Mon-Thu 20:00-08:00", dates=("2026-12-24",)))  # a Thursday
    assert is_open(night, utc("2026-12-23T23:59"))
    assert not is_open(night, utc("2026-12-24T00:00")), "the window of Wednesday ends where the holiday begins"
    assert not is_open(night, utc("2026-12-24T23:00")), "no window of Thursday begins on a holiday"
    assert is_open(night, utc("2026-12-25T07:59")), "Friday 00:00 is in the window that belongs to Thursday"


def test_a_clock_that_steps_back_asks_the_same_question_and_gets_the_same_answer() -> None:
    hours = parse_hours(schedule("01:00-01:30"))
    first, second = utc("2026-10-25T00:10"), utc("2026-10-25T01:10")
    assert is_open(hours, first), "01:10 of the first pass"
    assert is_open(hours, second), "01:10 of the second pass"
    assert [is_open(hours, at) for at in (second, first, second)] == [True] * 3


@pytest.mark.parametrize("zone", SOAK_ZONES)
def test_two_years_in_ten_zones_are_as_the_oracle_says(zone: str) -> None:
    """Every minute with FLEET_SOAK=1, otherwise a walk of 97 minutes, which meets every minute of the hour."""
    step = timedelta(minutes=1 if os.environ.get("FLEET_SOAK") else 97)
    for windows in WINDOWS:
        wanted = schedule(*windows, zone=zone, dates=("2026-12-25", "2027-01-01"))
        hours, at = parse_hours(wanted), utc("2026-01-01T00:00")
        while at < utc("2028-01-01T00:00"):
            assert is_open(hours, at) == oracle(wanted, at), (windows, at)
            at += step
