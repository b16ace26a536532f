"""What the daemon decides while its clock is turned: DST nights in three zones, steps back, another zone. # T71"""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fleet.relay.config import parse_config
from fleet.relay.rules import Rules, judge_schedules
from fleet.relay.spool.queue import Spool
from fleet.relay.telling import Teller
from fleet.relay.values import Config, ReceivedInstance, StudyFacts
from tests.relay.configs import make_destination, make_document, make_route
from tests.relay.test_spool import make_stored

# Europe turns at 01:00 UTC, North America at 02:00 local time, Lord Howe by half an hour.
NIGHTS = [
    ("Europe/Amsterdam", "2026-03-28", "2026-10-24"),
    ("America/New_York", "2026-03-07", "2026-10-31"),
    ("Australia/Lord_Howe", "2026-10-03", "2026-04-04"),
]


@dataclass
class Clock:
    now: float

    def __call__(self) -> float:
        return self.now


def make_config(spool: Path, zone: str, **changes: Any) -> Config:
    def target(title: str, window: str) -> dict[str, Any]:
        during = {"timezone": zone, "open": [window], "holidays": None}
        return {"ae_title": title, "during": during, "backup_after_s": None}

    windows = [("SMALL", "02:10-02:20"), ("NIGHT", "22:00-06:00"), ("DAY", "06:00-22:00")]
    route = make_route(primary=[target(*each) for each in windows], **changes)
    destinations = {title: make_destination(title) for title, _ in windows}
    document = make_document(spool, routes=[route], destinations=destinations)
    return parse_config(json.dumps(document).encode(), "relay.json")


def make_rules(config: Config, clock: Clock) -> Rules:
    return Rules(config, Teller(lambda _line: None, bytes(32), clock), bytes(32), config.spool, None, clock)


def minutes(zone: str, first_day: str) -> Iterator[float]:
    """Every minute of two local days."""
    begin = datetime.fromisoformat(f"{first_day}T00:00").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    for number in range(2 * 24 * 60):
        yield (begin + timedelta(minutes=number)).timestamp()


@pytest.mark.parametrize(("zone", "day"), [(zone, day) for zone, *days in NIGHTS for day in days])
def test_through_the_night_of_the_change_there_is_one_first_choice_by_the_wall_clock(
    tmp_path: Path, zone: str, day: str
) -> None:
    # T71
    clock = Clock(0.0)
    rules = make_rules(make_config(tmp_path, zone), clock)
    seen = set()
    for moment in minutes(zone, day):
        clock.now = moment
        instance = ReceivedInstance("a", tmp_path, "CT1", "RELAY", "1.2", "1.2.3", "1.2", "CT", "1.2", moment)
        decisions = rules.decide(instance, StudyFacts(moment))
        wall = datetime.fromtimestamp(moment, ZoneInfo(zone))
        minute = wall.hour * 60 + wall.minute
        expected = "SMALL" if 130 <= minute < 140 else "NIGHT" if minute < 360 or minute >= 1320 else "DAY"
        assert [(each.action, each.destination) for each in decisions] == [("send", expected)], wall
        seen.add(expected)
    assert {"NIGHT", "DAY"} <= seen


@pytest.mark.parametrize(("zone", "before"), [("Europe/Amsterdam", "2026-03-20"), ("America/New_York", "2026-03-01")])
def test_the_window_that_vanishes_in_spring_is_told_beforehand(tmp_path: Path, zone: str, before: str) -> None:
    # T71
    now = datetime.fromisoformat(before).replace(tzinfo=UTC)
    errors, warnings = judge_schedules(make_config(tmp_path, zone), now)
    assert not errors
    assert any("02:10" in warning for warning in warnings), warnings


def test_a_clock_that_steps_back_moves_no_study_and_new_ones_go_by_what_it_says(tmp_path: Path) -> None:
    # T71, T72
    def at(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Amsterdam")).timestamp()

    clock = Clock(at("2026-11-23T22:30"))
    spool = Spool(tmp_path / "spool")
    rules = make_rules(make_config(tmp_path / "spool", "Europe/Amsterdam"), clock)

    def store(name: str, study: str) -> None:
        stored = make_stored(spool, name, f"{study}.{name}", name)
        instance = dataclasses.replace(stored.instance, study_instance_uid=study, received_at=clock.now)
        spool.add([dataclasses.replace(stored, instance=instance)], rules.decide)

    store("1", "1.2.1")
    clock.now = at("2026-11-23T20:30")
    store("2", "1.2.1")
    store("3", "1.2.2")
    rows = spool.read("SELECT study_instance_uid, destination FROM tasks ORDER BY id")
    assert rows == [("1.2.1", "NIGHT"), ("1.2.1", "NIGHT"), ("1.2.2", "DAY")]
    spool.close()


def test_another_zone_after_a_reload_moves_no_study_that_has_begun(tmp_path: Path) -> None:
    # T71, T72: zone data, or the zone itself, changes under a study
    clock = Clock(datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp())
    spool = Spool(tmp_path / "spool")
    for name, zone in (("1", "Europe/Amsterdam"), ("2", "Asia/Tokyo"), ("3", "Asia/Tokyo")):
        rules = make_rules(make_config(tmp_path / "spool", zone), clock)
        stored = make_stored(spool, name, f"1.2.3.{name}", name)
        study = "1.9" if name == "3" else "1.8"
        instance = dataclasses.replace(stored.instance, study_instance_uid=study, received_at=clock.now)
        spool.add([dataclasses.replace(stored, instance=instance)], rules.decide)
        clock.now += 7200
    rows = spool.read("SELECT study_instance_uid, destination FROM tasks ORDER BY id")
    assert rows == [("1.8", "DAY"), ("1.8", "DAY"), ("1.9", "NIGHT")]
    spool.close()
