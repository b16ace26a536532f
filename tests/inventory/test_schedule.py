"""Opening hours: windows, holidays, gaps, and what can never be reached."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory.model import Schedule
from fleet.inventory.schedule import (
    DAYS,
    MINUTES_A_DAY,
    MINUTES_A_WEEK,
    Gap,
    InvalidScheduleError,
    Opening,
    Spans,
    count_minutes,
    find_gaps,
    fold_gaps,
    intersect,
    is_ever_first,
    is_open,
    parse_opening,
    parse_window,
    parse_windows,
    parse_zone,
    subtract,
    unite,
)

LISBON = "Europe/Lisbon"


def opening(*windows: str, zone: str = LISBON, holidays: tuple[str, ...] = (), read_as: str = "Sun") -> Opening:
    return parse_opening(Schedule("s", zone, windows, read_as, holidays))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def at(day: str, time: str) -> int:
    return DAYS.index(day) * MINUTES_A_DAY + int(time[:2]) * 60 + int(time[3:])


# Windows ---------------------------------------------------------------------------------------------------


def test_a_window_without_days_is_every_day_and_may_run_over_midnight() -> None:
    spans = parse_window("22:00-06:00")
    assert count_minutes(spans) == 7 * 8 * 60
    assert (0, 6 * 60) in spans, "Sunday's window ends on Monday morning"


def test_a_window_belongs_to_its_start_day() -> None:
    spans = parse_window("Mon-Thu 20:00-07:00")
    assert spans == tuple((at(a, "20:00"), at(b, "07:00")) for a, b in pairwise(DAYS[:5]))


def test_a_window_may_end_on_a_named_day() -> None:
    assert parse_window("Fri 20:00-Mon 07:00") == ((0, at("Mon", "07:00")), (at("Fri", "20:00"), MINUTES_A_WEEK))


def test_days_may_run_over_the_end_of_the_week() -> None:
    assert parse_window("Sat-Mon 08:00-09:00") == tuple(
        sorted((at(day, "08:00"), at(day, "09:00")) for day in ("Sat", "Sun", "Mon"))
    )


def test_a_whole_day_ends_at_24_00() -> None:
    assert parse_window("Sat 00:00-24:00") == ((at("Sat", "00:00"), at("Sun", "00:00")),)


def test_windows_that_meet_are_one() -> None:
    assert parse_windows(("Mon 08:00-12:00", "Mon 12:00-13:00")) == ((at("Mon", "08:00"), at("Mon", "13:00")),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8:00-12:00",
        "08:00 - 12:00",
        "24:00-06:00",
        "08:00-24:01",
        "mon 08:00-12:00",
        "Mon,Tue 08:00-12:00",
        "Mon-Fri08:00-12:00",
        "08:60-09:00",
        "Mon-Wed 20:00-Fri 07:00",
        "20:00-Mon 07:00",
        "08:00-08:00",
        "Mon 08:00-Mon 08:00",
        "Mon 08:00-12:00\n",
    ],
)
def test_what_is_no_window_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InvalidScheduleError) as caught:
        parse_window(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("name", ["Europe/Lisboa", "", "../etc/passwd", "/etc/localtime", "Mars/Olympus"])
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidScheduleError):
        parse_zone(name)


# Instants --------------------------------------------------------------------------------------------------


def test_the_wall_clock_of_the_zone_decides() -> None:
    day = opening("08:00-20:00")
    assert is_open(day, utc("2026-07-01T07:00:00")), "08:00 in Lisbon in summer"
    assert not is_open(day, utc("2026-01-01T07:59:59"))
    assert is_open(day, utc("2026-01-01T08:00:00"))
    assert not is_open(day, utc("2026-01-01T20:00:00"))


def test_a_holiday_is_its_whole_date_whenever_its_windows_began() -> None:
    night = opening("Mon-Thu 20:00-08:00", "Fri 20:00-Mon 08:00", holidays=("2026-12-25",))
    plain = opening("Mon-Thu 20:00-08:00", "Fri 20:00-Mon 08:00")
    noon = utc("2026-12-25T12:00:00")  # a Friday
    assert is_open(night, noon)
    assert not is_open(plain, noon)
    assert not is_open(plain, utc("2026-12-24T12:00:00"))


def test_a_window_that_began_the_day_before_does_not_reach_into_a_holiday() -> None:
    late = opening("Thu 20:00-08:00", holidays=("2026-12-25",))
    assert is_open(late, utc("2026-12-24T23:59:00"))
    assert not is_open(late, utc("2026-12-25T00:00:00")), "the date is read as a Sunday, which is closed"


def brute_force(windows: tuple[str, ...], holidays: tuple[str, ...], local: datetime) -> bool:
    """Minute by minute, from the sentence of the contract alone."""
    weekday = 6 if local.date().isoformat() in holidays else local.weekday()
    minute = local.hour * 60 + local.minute
    for window in windows:
        days, _, times = window.rpartition(" ")
        first, _, last = days.partition("-")
        begins, ends = times.split("-")
        start = int(begins[:2]) * 60 + int(begins[3:])
        end = int(ends[:2]) * 60 + int(ends[3:])
        open_days = DAYS if not days else DAYS[DAYS.index(first) : DAYS.index(last or first) + 1]
        today, yesterday = DAYS[weekday], DAYS[weekday - 1]
        if start < end and today in open_days and start <= minute < end:
            return True
        if start > end and ((today in open_days and minute >= start) or (yesterday in open_days and minute < end)):
            return True
    return False


HOURS = st.sampled_from([f"{hour:02}:{minute:02}" for hour in range(24) for minute in (0, 15, 59)])
WINDOWS = st.tuples(
    st.sampled_from(["", "Mon-Fri ", "Sat-Sun ", "Wed ", "Tue-Thu "]), HOURS, st.just("-"), HOURS
).filter(lambda parts: parts[1] != parts[3])


@given(
    st.lists(WINDOWS.map("".join), min_size=1, max_size=3),
    st.sampled_from(["Europe/Lisbon", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
    st.integers(0, 2 * 366 * 1440),
)
def test_every_minute_is_as_the_brute_force_oracle_says(windows: list[str], zone: str, minute: int) -> None:  # T71
    holidays = ("2026-12-25", "2027-01-01")
    instant = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    schedule = opening(*windows, zone=zone, holidays=holidays)
    local = instant.astimezone(schedule.zone)
    assert is_open(schedule, instant) is brute_force(tuple(windows), holidays, local)


# Arithmetic ------------------------------------------------------------------------------------------------

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)), max_size=5).map(
    lambda pairs: unite([tuple((start, start + length) for start, length in pairs)])
)


def members(spans: Spans) -> set[int]:
    return {minute for start, end in spans for minute in range(start, end)}


@given(SPANS, SPANS)
def test_spans_are_sets_of_minutes(one: Spans, other: Spans) -> None:
    assert members(unite([one, other])) == members(one) | members(other)
    assert members(intersect(one, other)) == members(one) & members(other)
    assert members(subtract(one, other)) == members(one) - members(other)
    assert count_minutes(one) == len(members(one))


def first_gap(needed: Opening | None, served: list[Opening], year: int) -> Gap | None:
    return next(find_gaps(needed, served, year), None)


# Gaps ------------------------------------------------------------------------------------------------------


def test_day_and_night_leave_no_gap() -> None:
    day, night = opening("Mon-Fri 08:00-20:00"), opening("Mon-Thu 20:00-08:00", "Fri 20:00-Mon 08:00")
    assert first_gap(None, [day, night], 2026) is None


def test_a_gap_names_its_day_hours_and_zone() -> None:
    gap = first_gap(None, [opening("Mon-Sat 00:00-24:00", "Sun 00:00-12:30")], 2026)
    assert str(gap) == "Sun 12:30-24:00 Europe/Lisbon"


def test_a_holiday_that_only_one_of_two_knows_is_a_gap() -> None:
    day = opening("Mon-Fri 08:00-20:00", holidays=("2026-12-25",))
    night = opening("Mon-Thu 20:00-08:00", "Fri 20:00-Mon 08:00")
    assert str(first_gap(None, [day, night], 2026)) == "2026-12-25 08:00-20:00 Europe/Lisbon"


def test_every_gap_of_the_week_is_found_and_equal_days_are_told_together() -> None:
    gaps = find_gaps(None, [opening("Mon-Fri 08:00-19:00", "Sat 08:00-24:00", holidays=("2026-12-25",))], 2026)
    assert [str(gap).removesuffix(" Europe/Lisbon") for gap in fold_gaps(gaps)] == [
        "Mon-Sat 00:00-08:00",
        "Mon-Fri 19:00-24:00",
        "Sun 00:00-24:00",
        "2026-12-25 00:00-24:00",
    ]


def test_gaps_of_several_zones_are_folded_into_weeks() -> None:
    lisbon, boston = opening("08:00-20:00"), opening("15:00-03:00", zone="America/New_York")
    told = [str(gap) for gap in fold_gaps(find_gaps(None, [lisbon, boston], 2026))]
    assert 1 <= len(told) <= 4
    assert all(" to " in gap for gap in told)


def test_only_the_hours_that_are_needed_have_to_be_served() -> None:
    day = opening("08:00-20:00")
    assert first_gap(day, [day], 2026) is None
    assert str(first_gap(day, [opening("08:00-19:00")], 2026)) == "Mon 19:00-20:00 Europe/Lisbon"


def test_zones_that_move_their_clocks_together_leave_no_gap() -> None:
    lisbon, madrid = opening("08:00-20:00"), opening("21:00-09:00", zone="Europe/Madrid")
    assert first_gap(None, [lisbon, madrid], 2026) is None


def test_zones_that_move_their_clocks_apart_leave_a_gap_for_some_weeks() -> None:
    lisbon, boston = opening("08:00-20:00"), opening("15:00-03:00", zone="America/New_York")
    gap = first_gap(None, [lisbon, boston], 2026)
    assert gap is not None
    assert gap.zone == "UTC"
    assert date(2026, 3, 8) <= date.fromisoformat(gap.day) <= date(2026, 3, 29)


# Reach -----------------------------------------------------------------------------------------------------


def test_who_is_open_only_while_another_is_first_is_never_reached() -> None:
    always, night = opening("00:00-24:00"), opening("20:00-08:00")
    assert not is_ever_first(night, [always], 2026)
    assert is_ever_first(always, [night], 2026)


def test_two_that_cover_it_together_shut_a_third_out() -> None:
    day, night, third = opening("08:00-20:00"), opening("20:00-08:00"), opening("19:00-21:00")
    assert is_ever_first(third, [day], 2026)
    assert not is_ever_first(third, [day, night], 2026)


def test_a_holiday_alone_is_a_moment_to_be_first() -> None:
    day = opening("Mon-Fri 08:00-20:00", holidays=("2026-12-25",))
    other = opening("Mon-Fri 09:00-10:00")
    assert is_ever_first(other, [day], 2026)


def test_reach_counts_only_while_the_route_stands() -> None:
    morning, day = opening("08:00-12:00"), opening("08:00-20:00")
    assert not is_ever_first(day, [morning], 2026, within=morning)
