"""The same bytes again: what is done for them a second time, and what is not. # T66"""

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.relay.operate import ledger
from fleet.relay.spool.queue import Spool
from fleet.relay.spool.records import Stored
from fleet.relay.values import Decision, ReceivedInstance, StudyFacts
from tests.relay.test_spool import make_stored


def by_called(instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
    """All goes to the archive; what calls for RESEARCH goes there as well, RELAY3 is nobody's, RELAY4 waits."""
    if instance.called == "RELAY3":
        return ()
    if instance.called == "RELAY4":
        return (Decision("all", "hold", until=50.0),)
    to_archive = Decision("all", "send", "ARCHIVE")
    return (to_archive, Decision("research", "send", "LAB")) if instance.called == "RESEARCH" else (to_archive,)


def under(stored: Stored, called: str) -> Stored:
    return replace(stored, instance=replace(stored.instance, called=called))


def shown(spool: Spool) -> list[tuple[str, str | None, str]]:
    rows = spool.read("SELECT route, destination, state FROM tasks ORDER BY id")
    return [(route, destination, state) for route, destination, state in rows]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def give_up(spool: Spool) -> None:
    [task] = spool.claim("ARCHIVE", 10, 5)
    spool.record_quarantined(task, 11.0, "refused with status C000")
    assert ledger.drop(spool, task.task_id, 12.0) == 1


def test_what_was_dropped_goes_after_all_when_it_is_sent_again(spool: Spool) -> None:
    spool.add([make_stored(spool, "a")], by_called)
    give_up(spool)
    assert spool.add([make_stored(spool, "b")], by_called) == [False]
    [task] = spool.claim("ARCHIVE", 20, 5)
    assert (task.instance.spool_id, task.attempts) == ("a", 0)
    assert spool.add([make_stored(spool, "c")], by_called) == [False]
    assert len(spool.claim("ARCHIVE", 20, 5)) == 1, "on its way: nothing changes"


def test_what_was_dropped_before_it_had_a_destination_is_decided_again(spool: Spool) -> None:
    spool.add([make_stored(spool, "a")], lambda _instance, _study: ())
    [row] = ledger.list_tasks(spool, ["unrouted"])
    ledger.drop(spool, row["task"], 12.0)
    assert spool.add([make_stored(spool, "b")], by_called) == [False]
    assert spool.redecide(20.0, by_called) == 1
    assert len(spool.claim("ARCHIVE", 30, 5)) == 1


def test_under_another_called_title_only_what_is_new_is_queued(spool: Spool) -> None:
    spool.add([make_stored(spool, "a")], by_called)
    assert spool.add([under(make_stored(spool, "b"), "RESEARCH")], by_called) == [True]
    assert shown(spool) == [("all", "ARCHIVE", "queued"), ("all", "ARCHIVE", "skipped"), ("research", "LAB", "queued")]
    assert [row["conflict"] for row in ledger.list_tasks(spool, ["queued"])] == [0, 0]
    for name in ("RELAY2", "RESEARCH", "RELAY"):
        assert spool.add([under(make_stored(spool, "c" + name), name)], by_called) == [False]
    assert len(shown(spool)) == 3


def test_under_a_title_that_no_route_takes_a_person_sees_it(spool: Spool) -> None:
    spool.add([make_stored(spool, "a")], by_called)
    assert spool.add([under(make_stored(spool, "b"), "RELAY3")], by_called) == [True]
    assert ledger.count_states(spool)["unrouted"] == 1


def test_what_waited_does_not_go_twice_where_the_same_bytes_went_meanwhile(spool: Spool) -> None:
    spool.add([under(make_stored(spool, "a"), "RELAY4")], by_called)
    assert spool.add([make_stored(spool, "b")], by_called) == [True]

    def open_now(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return (Decision("all", "send", "ARCHIVE"),)

    assert spool.redecide(60.0, open_now) == 1
    assert shown(spool) == [("all", "ARCHIVE", "queued"), ("all", "ARCHIVE", "skipped")]
    [task] = spool.claim("ARCHIVE", 70, 5)
    spool.record_delivered(task, 71.0)
    assert sorted(ledger.find_done(spool, 80.0)) == ["a", "b"]


def test_what_one_arrival_left_to_another_that_was_dropped_goes_when_it_is_sent_again(spool: Spool) -> None:
    spool.add([make_stored(spool, "a")], by_called)
    spool.add([under(make_stored(spool, "b"), "RESEARCH")], by_called)
    give_up(spool)
    assert spool.add([under(make_stored(spool, "c"), "RESEARCH")], by_called) == [False]
    assert [task.instance.spool_id for task in spool.claim("ARCHIVE", 20, 5)] == ["b"]


def test_what_was_sent_again_is_not_forgotten_as_done(spool: Spool) -> None:
    spool.add([make_stored(spool, "a")], by_called)
    give_up(spool)
    done = ledger.find_done(spool, 100.0)
    assert done == ["a"]
    spool.add([make_stored(spool, "b")], by_called)
    assert spool.forget(done) == 0
    assert spool.path("a").exists()
    assert len(spool.claim("ARCHIVE", 20, 5)) == 1


def test_a_good_copy_under_another_title_mends_the_file_and_goes_its_own_ways(spool: Spool) -> None:
    """T76."""
    spool.add([make_stored(spool, "a")], by_called)
    spool.path("a").unlink()
    assert spool.add([under(make_stored(spool, "b"), "RESEARCH")], by_called) == [True]
    assert [task.instance.spool_id for task in spool.claim("ARCHIVE", 20, 5)] == ["b"]
    assert [task.instance.spool_id for task in spool.claim("LAB", 20, 5)] == ["b"]
