"""Decisions: which routes, which destination, for how long. # T71 # T72"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.relay.route.decide import check_schedules, choices_by_route, decide, describe, first_choice, next_backup
from fleet.relay.values import Decision, ReceivedInstance, Route, Schedule, StudyFacts, Target, When

DAY = Schedule("Europe/Lisbon", ("Mon-Fri 08:00-20:00",), "Sun", ("2026-12-25",))
NIGHT = Schedule("Europe/Lisbon", ("Mon-Thu 20:00-08:00", "Fri 20:00-Mon 08:00"), "Sun", ("2026-12-25",))
BY_HOUR = (Target("TELERAD_DAY", DAY, 600.0), Target("TELERAD_NIGHT", NIGHT))


def route(name: str = "r", when: When | None = None, *targets: Target, **more: Any) -> Route:
    return Route(
        name=name,
        when=when or When(),
        otherwise=more.get("otherwise"),
        require={},
        deidentify=None,
        edit=(),
        primary=targets or (Target("PACS"),),
        optional=more.get("optional", ()),
    )


def instance(**more: Any) -> ReceivedInstance:
    given: dict[str, Any] = {
        "spool_id": "1",
        "path": Path("1"),
        "calling": "CT_1",
        "called": "RELAY",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "sop_instance_uid": "1.2.3",
        "study_instance_uid": "1.2",
        "modality": "CT",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "received_at": 0.0,
    }
    return ReceivedInstance(**(given | more))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def study(at: datetime, seen: Mapping[str, frozenset[str]] | None = None, **choices: str) -> StudyFacts:
    return StudyFacts(at.timestamp(), seen or {}, choices)


MONDAY = utc("2026-11-16T10:00")


def titles(*routes: Route, match: str = "all", at: datetime = MONDAY, **more: Any) -> list[str | None]:
    return [each.destination for each in decide(match, routes, instance(**more), study(at), at)]


# What a route is for ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        (When(), True),
        (When(calling=("CT_*",)), True),
        (When(calling=("ct_*",)), False),
        (When(calling=("MR_*", "CT_?")), True),
        (When(called=("RELAY",)), True),
        (When(called=("RELA",)), False),
        (When(modality=("CT", "MR")), True),
        (When(modality=("MR",)), False),
        (When(sop_class=("1.2.840.10008.5.1.4.1.1.2",)), True),
        (When(sop_class=("1.2.840.10008.5.1.4.1.1.2?",)), False),
        (When(sop_class=("1.2.840.10008.5.1.4.1.1.*",)), True),
        (When(elements={"BodyPartExamined": ("HEAD", "NECK")}), True),
        (When(elements={"BodyPartExamined": ("CHEST",)}), False),
        (When(elements={"ImageType": ("AXIAL",)}), True),
        (When(elements={"StationName": ("*",)}), False),
        (When(elements={"Missing": ("*",)}), False),
        (When(elements={"ProtocolName": ("a.c[d]",)}), True),
        (When(elements={"BodyPartExamined": ("HEAD",)}, modality=("MR",)), False),
    ],
)
def test_a_route_is_for_what_matches_everything_that_it_asks(when: When, matches: bool) -> None:
    elements = {
        "BodyPartExamined": "HEAD ",
        "ImageType": "ORIGINAL\\PRIMARY\\AXIAL",
        "StationName": "",
        "ProtocolName": "a.c[d]",
    }
    assert bool(titles(route("r", when), elements=elements)) is matches


def test_match_all_asks_every_route_and_match_first_only_the_first_that_matches() -> None:
    routes = (
        route("mr", When(modality=("MR",)), Target("A")),
        route("ct", When(modality=("CT",)), Target("B")),
        route("any", None, Target("C")),
    )
    assert titles(*routes) == ["B", "C"]
    assert titles(*routes, match="first") == ["B"]
    assert titles(*routes, match="first", modality="US") == ["C"]
    assert titles(routes[0], modality="US") == [], "no route, no decision: whoever asked keeps it and says so"


DOSE = route("dose", When(modality=("SR",), study_has={"Modality": ("CT",)}, wait_for_study_s=60.0), Target("DOSE"))


def test_a_dose_report_waits_for_its_ct_and_follows_it() -> None:
    report = instance(modality="SR")
    alone = study(MONDAY, {"Modality": frozenset({"SR"})})
    assert decide("all", (DOSE,), report, alone, MONDAY) == (Decision("dose", "wait", until=MONDAY.timestamp() + 60.0),)
    together = study(MONDAY, {"Modality": frozenset({"SR", "CT"})})
    [decided] = decide("all", (DOSE,), report, together, MONDAY + timedelta(seconds=5))
    assert (decided.action, decided.destination) == ("send", "DOSE")


def test_after_the_wait_a_report_without_its_ct_is_not_for_the_route() -> None:
    late = MONDAY + timedelta(seconds=60)
    assert decide("all", (DOSE,), instance(modality="SR"), study(MONDAY), late) == ()


def test_with_match_first_a_route_that_may_still_match_keeps_the_later_ones_waiting() -> None:
    routes = (DOSE, route("rest", None, Target("PACS")))
    report = instance(modality="SR")
    assert [each.action for each in decide("first", routes, report, study(MONDAY), MONDAY)] == ["wait"]
    late = decide("first", routes, report, study(MONDAY), MONDAY + timedelta(seconds=61))
    assert [each.destination for each in late] == ["PACS"]


# By the hour -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-11-16T07:59", "TELERAD_NIGHT"),
        ("2026-11-16T08:00", "TELERAD_DAY"),
        ("2026-11-16T19:59", "TELERAD_DAY"),
        ("2026-11-16T20:00", "TELERAD_NIGHT"),
        ("2026-12-25T12:00", "TELERAD_NIGHT"),  # a Friday that is a Sunday
        ("2026-07-01T07:00", "TELERAD_DAY"),  # 08:00 in Lisbon
    ],
)
def test_the_local_wall_time_chooses(at: str, expected: str) -> None:
    assert titles(route("r", None, *BY_HOUR), at=utc(at)) == [expected]


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - the zone is `timezones`
def test_at_each_instant_exactly_one_is_the_first_choice(at: datetime) -> None:
    """Day and night of the example leave no gap and do not overlap."""
    chosen = first_choice(route("r", None, *BY_HOUR), at)
    others = [target for target in BY_HOUR if first_choice(route("r", None, target), at)]
    assert [chosen] == others


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - the zone is `timezones`
    st.lists(st.floats(0, 200_000), max_size=12),
)
def test_a_study_stays_where_its_first_instance_went_even_past_closing(at: datetime, delays: list[float]) -> None:
    # T72
    wanted = route("r", None, *BY_HOUR)
    [first] = decide("all", (wanted,), instance(), study(at), at)
    choices = choices_by_route((first,))
    for delay in delays:
        now = at + timedelta(seconds=delay)
        stored = decide("all", (wanted,), instance(), StudyFacts(at.timestamp(), {}, choices), now)
        forgotten = decide("all", (wanted,), instance(), StudyFacts(at.timestamp(), {}, {}), now)
        assert stored == forgotten == (first,)


def test_a_destination_that_a_new_configuration_does_not_have_is_chosen_anew() -> None:
    [decided] = decide("all", (route("r"),), instance(), study(MONDAY, r="GONE"), MONDAY)
    assert decided.destination == "PACS"


def test_a_study_that_began_while_a_route_was_closed_is_not_for_it_nor_any_of_its_later_instances() -> None:
    wanted = route("r", When(during=DAY))
    before, inside = utc("2026-11-16T07:59"), utc("2026-11-16T08:30")
    assert decide("all", (wanted,), instance(), study(before), inside) == ()
    assert decide("all", (wanted,), instance(), study(inside), utc("2026-11-16T22:00"))


def test_at_an_hour_that_nobody_serves_the_route_holds_until_one_opens() -> None:
    wanted = route("r", None, Target("DAY", DAY), otherwise="hold")
    evening, morning = utc("2026-11-16T21:00"), utc("2026-11-17T08:00")
    assert decide("all", (wanted,), instance(), study(evening), evening) == (
        Decision("r", "hold", until=morning.timestamp()),
    )
    [later] = decide("all", (wanted,), instance(), study(evening), morning)
    assert (later.action, later.destination) == ("send", "DAY")


def test_at_an_hour_that_nobody_serves_skip_is_a_decision_that_does_not_change_in_the_morning() -> None:
    wanted = route("r", None, Target("DAY", DAY), otherwise="skip", optional=(Target("COPY"),))
    evening = utc("2026-11-16T21:00")
    for now in (evening, utc("2026-11-17T08:00")):
        assert decide("all", (wanted,), instance(), study(evening), now) == (Decision("r", "skip"),)


def test_an_optional_copy_never_holds_up_the_primary() -> None:
    wanted = route("r", None, Target("PACS"), optional=(Target("COPY", NIGHT), Target("VNA")))
    decided = decide("all", (wanted,), instance(), study(MONDAY), MONDAY)
    assert decided == (
        Decision("r", "send", "PACS"),
        Decision("r", "send", "COPY", "optional", utc("2026-11-16T20:00").timestamp()),
        Decision("r", "send", "VNA", "optional"),
    )
    assert choices_by_route(decided) == {"r": "PACS"}


# Backups ---------------------------------------------------------------------------------------------------

THREE = route("r", None, Target("A", None, 600.0), Target("B", NIGHT, 600.0), Target("C", None, 60.0))


@pytest.mark.parametrize(
    ("chosen", "waited_s", "at", "expected"),
    [
        ("A", 599.0, "2026-11-16T10:00", None),
        ("A", 600.0, "2026-11-16T10:00", "C"),  # B is closed by day
        ("A", 600.0, "2026-11-16T22:00", "B"),
        ("C", 60.0, "2026-11-16T10:00", "A"),
        ("GONE", 6000.0, "2026-11-16T10:00", None),
    ],
)
def test_after_backup_after_the_next_open_destination_takes_the_study(
    chosen: str, waited_s: float, at: str, expected: str | None
) -> None:
    now = utc(at)
    assert next_backup(THREE, chosen, now.timestamp() - waited_s, None, now) == expected
    assert next_backup(THREE, chosen, now.timestamp() - 9000.0, now.timestamp() - waited_s, now) == expected


def test_a_study_stays_where_it_is_when_no_other_is_open_or_none_may_take_over() -> None:
    lonely = route("r", None, Target("A", None, 60.0), Target("B", NIGHT))
    assert next_backup(lonely, "A", 0.0, None, MONDAY) is None
    assert next_backup(lonely, "B", 0.0, None, MONDAY) is None, "B has no backup_after"


# What is said of schedules ---------------------------------------------------------------------------------


def test_an_unreadable_schedule_is_told_by_its_route_and_a_vanished_window_is_a_warning() -> None:
    broken = route("broken", When(during=Schedule("Europe/Lisbon", ("8-20",))))
    vanishing = route("spring", None, Target("A", Schedule("Europe/Lisbon", ("01:15-01:45",))), otherwise="hold")
    said = check_schedules((broken, vanishing), MONDAY)
    assert said[0].startswith("route broken: the window '8-20' is not of the form")
    assert said[1].startswith("warning: route spring: the window 01:15-01:45 is empty on 2027-03-28")
    assert len(said) == 2


def test_hours_that_nobody_serves_without_otherwise_are_a_warning_since_what_arrives_is_held() -> None:
    gap = route("gap", None, Target("A", DAY))
    assert check_schedules((route("fine", None, *BY_HOUR),), MONDAY) == ()
    [said] = check_schedules((gap,), MONDAY)
    assert said.startswith("warning: route gap: nobody is open at Mon 2026-11-16 20:00 +0000")
    [held] = decide("all", (gap,), instance(), study(utc("2026-11-16T21:00")), utc("2026-11-16T21:00"))
    assert held.action == "hold"


def test_when_tells_the_decision_and_the_week_in_local_time_over_a_night_of_the_clock() -> None:
    said = describe(route("night", None, *BY_HOUR, optional=(Target("VNA", NIGHT),)), utc("2026-03-27T12:00"))
    assert said.splitlines() == [
        "night at Fri 2026-03-27 12:00 +0000: TELERAD_DAY",
        "  Fri 2026-03-27 12:00 +0000 to Fri 2026-03-27 20:00 +0000  TELERAD_DAY",
        "  Fri 2026-03-27 20:00 +0000 to Mon 2026-03-30 08:00 +0100  TELERAD_NIGHT",
        "  Mon 2026-03-30 08:00 +0100 to Mon 2026-03-30 20:00 +0100  TELERAD_DAY",
        "  Mon 2026-03-30 20:00 +0100 to Tue 2026-03-31 08:00 +0100  TELERAD_NIGHT",
        "  Tue 2026-03-31 08:00 +0100 to Tue 2026-03-31 20:00 +0100  TELERAD_DAY",
        "  Tue 2026-03-31 20:00 +0100 to Wed 2026-04-01 08:00 +0100  TELERAD_NIGHT",
        "  Wed 2026-04-01 08:00 +0100 to Wed 2026-04-01 20:00 +0100  TELERAD_DAY",
        "  Wed 2026-04-01 20:00 +0100 to Thu 2026-04-02 08:00 +0100  TELERAD_NIGHT",
        "  Thu 2026-04-02 08:00 +0100 to Thu 2026-04-02 20:00 +0100  TELERAD_DAY",
        "  Thu 2026-04-02 20:00 +0100 to Fri 2026-04-03 08:00 +0100  TELERAD_NIGHT",
        "  Fri 2026-04-03 08:00 +0100 to Fri 2026-04-03 13:00 +0100  TELERAD_DAY",
        "  also to VNA: from Fri 2026-03-27 20:00 +0000",
    ]


def test_when_warns_of_the_window_that_is_empty_in_the_week_shown() -> None:
    spring = route("spring", None, Target("A", Schedule("Europe/Lisbon", ("01:15-01:45",))), otherwise="skip")
    assert "the window 01:15-01:45 is empty on 2026-03-29" in describe(spring, utc("2026-03-27T12:00"))
    assert "empty" not in describe(spring, utc("2026-04-27T12:00"))
