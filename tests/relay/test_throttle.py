"""Speed by the hour, on a clock that the test turns."""

import hashlib
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleet.relay.forward.outcome import Circuit
from fleet.relay.forward.senders import Shared, Worker
from fleet.relay.forward.throttle import Meter, Throttle
from fleet.relay.values import Rate, Schedule
from tests.relay.house import make_data_set
from tests.relay.sink import Script, sinking
from tests.relay.test_forward import Bench

DAY = Schedule("Europe/Amsterdam", ("Mon-Fri 07:00-19:00",))
MONDAY_NOON = datetime(2026, 11, 23, 11, 0, tzinfo=UTC).timestamp()
MONDAY_NIGHT = datetime(2026, 11, 23, 21, 0, tzinfo=UTC).timestamp()


def test_by_day_a_lower_rate_by_night_the_next_one() -> None:
    throttle = Throttle((Rate(DAY, 100_000, None), Rate(None, 1_000_000, None)))
    assert throttle.pay(500_000, MONDAY_NOON) == 0
    assert throttle.pay(1, MONDAY_NOON) == pytest.approx(5)
    assert throttle.block_bytes(MONDAY_NOON, 262_144) == 100_000
    night = Throttle((Rate(DAY, 100_000, None), Rate(None, 1_000_000, None)))
    night.pay(500_000, MONDAY_NIGHT)
    assert night.pay(1, MONDAY_NIGHT) == pytest.approx(0.5)


def test_outside_its_hours_there_is_no_limit() -> None:
    throttle = Throttle((Rate(DAY, 100_000, 0.1),))
    for _ in range(5):
        throttle.begin_instance(MONDAY_NIGHT)
        assert throttle.pay(10**9, MONDAY_NIGHT) == 0
    assert throttle.delay_s(MONDAY_NIGHT) == 0


def test_over_a_minute_no_more_goes_than_the_rate_says() -> None:
    throttle = Throttle((Rate(None, 100_000, 2.0),))
    now, sent, instances = MONDAY_NOON, 0, 0
    while now < MONDAY_NOON + 60:
        now += throttle.delay_s(now)
        throttle.begin_instance(now)
        for _ in range(4):
            now += throttle.pay(20_000, now)
            sent += 20_000
        instances += 1
    assert sent <= 100_000 * 61
    assert sent >= 100_000 * 57
    assert instances <= 2 * 61


def test_instances_a_second_hold_up_the_next_one() -> None:
    throttle = Throttle((Rate(None, None, 0.5),))
    assert throttle.delay_s(MONDAY_NOON) == 0
    throttle.begin_instance(MONDAY_NOON)
    assert throttle.delay_s(MONDAY_NOON) == pytest.approx(2)
    assert throttle.delay_s(MONDAY_NOON + 2) == 0


def test_a_clock_set_back_by_a_day_holds_up_nothing_for_a_day() -> None:
    """T71."""
    throttle = Throttle((Rate(None, 100_000, 1.0),))
    throttle.begin_instance(MONDAY_NOON)
    throttle.pay(1_000_000, MONDAY_NOON)
    assert throttle.delay_s(MONDAY_NOON - 86_400) <= 120
    assert throttle.pay(1, MONDAY_NOON - 86_400) <= 120


def test_what_is_sent_at_a_rate_takes_its_time_and_arrives_whole(tmp_path: Path) -> None:
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 3)
        throttle = Throttle((Rate(None, 1_000_000, None),))
        bench.worker = Worker(bench.worker.destination, bench.worker._around, range(4), shared(throttle))
        started = time.monotonic()
        bench.worker.work()
        assert time.monotonic() - started > 0.35  # 600 KB; the last block is paid for after it went
        assert len(script.received) == 3
        for uid, digest in script.received:
            assert digest == hashlib.sha256(make_data_set(uid, pixels=200_000)).hexdigest()
        assert bench.worker.meter.per_minute(time.time()) == 3


def test_for_a_long_pause_no_association_is_kept_open(tmp_path: Path) -> None:
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 3)
        throttle = Throttle((Rate(None, None, 0.01),))
        bench.worker = Worker(bench.worker.destination, bench.worker._around, range(4), shared(throttle))
        bench.worker.work()
        assert len(script.received) == 1
        assert not bench.worker.work()
        assert script.associations == 1


def shared(throttle: Throttle) -> Shared:
    return Shared(Circuit(), throttle, Meter())


def test_a_minute_later_the_meter_has_forgotten() -> None:
    meter = Meter()
    for second in range(90):
        meter.count(1000.0 + second)
    assert meter.per_minute(1089.0) == 61
    assert meter.per_minute(2000.0) == 0
