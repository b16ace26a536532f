"""The spool: what is acknowledged stays, what is not leaves no trace."""

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.errors import UsageError
from fleet.relay.operate import ledger
from fleet.relay.spool.pieces import Pace
from fleet.relay.spool.queue import Bound, Spool
from fleet.relay.spool.records import Stored
from fleet.relay.spool.schema import VERSION, SpoolError, SpoolFullError
from fleet.relay.values import Decision, ReceivedInstance, StudyFacts

CASES = Path(__file__).parents[1] / "cases" / "relay"


def to_archive(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
    return (Decision("all", "send", "ARCHIVE"),)


def make_stored(spool: Spool, name: str, uid: str = "1.2.3.4", sha256: str = "aa", **elements: str) -> Stored:
    path = spool.path(name)
    path.write_bytes(b"file")
    instance = ReceivedInstance(
        name, path, "CT1", "RELAY", "1.2", uid, "1.2.3", "CT", "1.2.840.10008.1.2", 5.0, elements
    )
    return Stored(instance, 4, 0, sha256)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_an_instance_is_queued_for_each_destination_in_one_go(spool: Spool) -> None:
    def both(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return (Decision("all", "send", "ARCHIVE"), Decision("all", "send", "COPY", "optional"))

    assert spool.add([make_stored(spool, "a")], both) == [True]
    assert [task.instance.spool_id for task in spool.claim("ARCHIVE", 10, 5)] == ["a"]
    assert [task.role for task in spool.claim("COPY", 10, 5)] == ["optional"]


def test_the_same_bytes_again_change_nothing(spool: Spool) -> None:
    """T66."""
    spool.add([make_stored(spool, "a")], to_archive)
    assert spool.add([make_stored(spool, "b")], to_archive) == [False]
    assert len(spool.claim("ARCHIVE", 10, 5)) == 1


def test_other_bytes_under_one_uid_are_both_kept_and_flagged(spool: Spool) -> None:
    """T66: never silently replaced."""
    spool.add([make_stored(spool, "a"), make_stored(spool, "b", sha256="bb")], to_archive)
    assert [row["conflict"] for row in ledger.list_tasks(spool, ["queued"])] == [0, 1]


def test_what_no_route_takes_is_kept_and_listed(spool: Spool) -> None:
    spool.add([make_stored(spool, "a")], lambda _instance, _study: ())
    assert ledger.count_states(spool)["unrouted"] == 1
    ledger.ask_again(spool)
    assert spool.redecide(10, to_archive) == 1
    assert len(spool.claim("ARCHIVE", 10, 5)) == 1


def test_what_waits_for_its_study_is_asked_again_when_more_of_it_arrives(spool: Spool) -> None:
    def after_report(_instance: ReceivedInstance, study: StudyFacts) -> tuple[Decision, ...]:
        if "SR" in study.seen.get("Modality", ()):
            return (Decision("all", "send", "ARCHIVE"),)
        return (Decision("all", "wait", until=100.0),)

    spool.add([make_stored(spool, "a", "1.1", Modality="CT")], after_report)
    assert spool.redecide(50, after_report) == 0
    spool.add([make_stored(spool, "b", "1.2", "bb", Modality="SR")], after_report)
    assert spool.redecide(50, after_report) == 1
    assert len(spool.claim("ARCHIVE", 50, 5)) == 2


def test_a_choice_is_made_once_for_a_study(spool: Spool) -> None:
    """T72."""
    seen: list[dict[str, str]] = []

    def record(_instance: ReceivedInstance, study: StudyFacts) -> tuple[Decision, ...]:
        seen.append(dict(study.choices))
        return (Decision("all", "send", study.choices.get("all", "ARCHIVE")),)

    spool.add([make_stored(spool, "a", "1.1")], record)
    spool.add([make_stored(spool, "b", "1.2", "bb")], record)
    assert seen == [{}, {"all": "ARCHIVE"}]


def test_a_backup_takes_over_the_whole_study_delivered_instances_too(spool: Spool) -> None:
    spool.add([make_stored(spool, "a", "1.1"), make_stored(spool, "b", "1.2", "bb")], to_archive)
    first, second = spool.claim("ARCHIVE", 10, 5)
    spool.record_delivered(first, 20.0)
    assert ledger.move_study(spool, "1.2.3", "all", "BACKUP", 30.0) == 2
    assert {task.instance.spool_id for task in spool.claim("BACKUP", 40, 5)} == {"a", "b"}
    spool.record_delivered(second, 50.0)  # an answer of the old one that comes late settles nothing of the new one
    assert len(spool.claim("BACKUP", 60, 5)) == 2


def test_a_destination_whose_turn_comes_again_is_not_given_what_it_took_before(spool: Spool) -> None:
    # T64
    spool.add([make_stored(spool, "a", "1.1"), make_stored(spool, "b", "1.2", "bb")], to_archive)
    first, _ = spool.claim("ARCHIVE", 10, 5)
    spool.record_delivered(first, 20.0)
    assert ledger.move_study(spool, "1.2.3", "all", "BACKUP", 30.0) == 2
    assert ledger.move_study(spool, "1.2.3", "all", "ARCHIVE", 40.0) == 1
    assert [task.instance.spool_id for task in spool.claim("ARCHIVE", 50, 5)] == ["b"]
    assert spool.claim("BACKUP", 50, 5) == []


@pytest.mark.parametrize("is_answered", [True, False])
def test_what_is_still_on_its_way_to_a_destination_whose_turn_comes_again_is_not_sent_there_twice(
    spool: Spool, *, is_answered: bool
) -> None:
    # T64: an answer that is later than two moves still counts, and until it comes nothing of it is queued anew
    spool.add([make_stored(spool, "a", "1.1")], to_archive)
    [task] = spool.claim("ARCHIVE", 10, 5)
    assert spool.hands.begin(task)
    ledger.move_study(spool, "1.2.3", "all", "BACKUP", 30.0)
    ledger.move_study(spool, "1.2.3", "all", "ARCHIVE", 40.0)
    if is_answered:
        spool.record_delivered(task, 50.0)
    else:
        spool.record_failed(task, 50.0, 55.0, "no answer")
    spool.hands.end(task)
    again = [each.task_id for each in spool.claim("ARCHIVE", 60, 5)]
    assert again == ([] if is_answered else [task.task_id])
    assert spool.claim("BACKUP", 60, 5) == []


def test_what_is_still_on_its_way_to_somebody_is_not_forgotten(spool: Spool) -> None:
    # T60: its number would be another's, and the late answer would make that one count as delivered
    spool.add([make_stored(spool, "a", "1.1")], to_archive)
    [slow] = spool.claim("ARCHIVE", 10, 5)
    assert spool.hands.begin(slow)
    ledger.move_study(spool, "1.2.3", "all", "BACKUP", 30.0)
    [task] = spool.claim("BACKUP", 35, 5)
    spool.record_delivered(task, 40.0)
    assert spool.forget(["a"]) == 0
    spool.record_delivered(slow, 50.0)
    spool.hands.end(slow)
    assert spool.forget(["a"]) == 1
    spool.add([make_stored(spool, "b", "1.2", "bb")], to_archive)
    assert [each.instance.spool_id for each in spool.claim("ARCHIVE", 60, 5)] == ["b"]


def test_a_second_relay_on_one_spool_is_refused(spool: Spool) -> None:
    """T77."""
    with pytest.raises(SpoolError, match="another relay works"):
        Spool(spool.folder)


def test_a_spool_of_a_newer_relay_is_refused_and_a_scratched_one_too(spool: Spool) -> None:
    """T78."""
    spool.path("a").write_bytes(b"file")
    spool.close()
    database = spool.folder / "queue.sqlite"
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SpoolError, match="newer relay"):
        Spool(spool.folder)
    database.unlink()
    with pytest.raises(SpoolError, match="not overwritten"):
        Spool(spool.folder)


def test_a_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir(mode=0o755)
    with pytest.raises(SpoolError, match="0700"):
        Spool(tmp_path / "spool")


def test_a_start_removes_parts_moves_orphans_aside_and_tells_of_missing_files(spool: Spool) -> None:
    """T60: what a crash leaves between two steps."""
    spool.add([make_stored(spool, "kept"), make_stored(spool, "gone", "1.9", "bb")], to_archive)
    spool.path("gone").unlink()
    spool.path("orphan").write_bytes(b"file")
    spool.part_path("half").write_bytes(b"fi")
    found = spool.reconcile(10.0)
    assert (found.removed_parts, found.orphans, found.missing) == (1, ("orphan.dcm",), ("gone",))
    assert (spool.folder / "orphans" / "orphan.dcm").exists()
    assert [task.instance.spool_id for task in spool.claim("ARCHIVE", 20, 5)] == ["kept"]


def test_a_crash_while_forgetting_is_finished_on_the_next_start(spool: Spool) -> None:
    spool.add([make_stored(spool, "a")], to_archive)
    spool.change("UPDATE instances SET forgetting = 1")
    assert spool.reconcile(10.0).instances == 0
    assert not spool.path("a").exists()


def test_only_what_is_done_is_forgotten(spool: Spool) -> None:
    spool.add([make_stored(spool, "a", "1.1"), make_stored(spool, "b", "1.2", "bb")], to_archive)
    spool.record_delivered(spool.claim("ARCHIVE", 10, 1)[0], 20.0)
    assert ledger.find_done(spool, 19.0) == []
    assert ledger.find_done(spool, 21.0) == ["a"]
    assert spool.forget(["a"]) == 1
    assert spool.read("SELECT spool_id FROM instances") == [("b",)]


def test_quarantine_is_shown_released_and_dropped(spool: Spool) -> None:
    spool.add([make_stored(spool, "a")], to_archive)
    task = spool.claim("ARCHIVE", 10, 1)[0]
    spool.record_quarantined(task, 20.0, "because")
    assert [row["reason"] for row in ledger.list_tasks(spool, ["quarantined"])] == ["because"]
    assert spool.claim("ARCHIVE", 30, 1) == []
    assert ledger.release(spool, task.task_id, 30.0) == 1
    spool.record_quarantined(spool.claim("ARCHIVE", 40, 1)[0], 40.0, "again")
    assert ledger.drop(spool, task.task_id, 50.0) == 1
    assert ledger.find_done(spool, 60.0) == ["a"]


def test_a_full_queue_records_nothing(spool: Spool) -> None:
    """T61."""
    pages = spool.read("PRAGMA page_count")[0][0]
    spool._durable.execute(f"PRAGMA max_page_count = {pages}")
    many = [make_stored(spool, f"x{number}", f"1.{number}", f"{number}", Keyword="v" * 500) for number in range(1000)]
    with pytest.raises(SpoolFullError):
        spool.add(many, to_archive)
    assert spool.read("SELECT count(*) FROM instances") == [(0,)]
    spool._durable.execute("PRAGMA max_page_count = 1000000")
    assert spool.add([make_stored(spool, "last", "9.9", "zz")], to_archive) == [True]


@pytest.mark.parametrize("form", [1, 2])
def test_a_spool_of_an_older_form_is_brought_up_with_what_it_holds(tmp_path: Path, form: int) -> None:
    """T78: made by the tables of that form, as they were."""
    for folder in ("spool", "spool/instances", "spool/work"):
        (tmp_path / folder).mkdir(mode=0o700)
    (tmp_path / "spool" / "instances" / "a.dcm").write_bytes(b"file")
    with sqlite3.connect(tmp_path / "spool" / "queue.sqlite") as connection:
        connection.executescript((CASES / f"spool-form-{form}.sql").read_text())
        connection.execute(
            "INSERT INTO instances VALUES (1, 'a', 'CT1', 'RELAY', '1.2', '1.2.3.4', '1.2.3', 'CT',"
            " '1.2.840.10008.1.2', 5.0, '{}', 4, 0, 'aa', 0, 0)"
        )
        connection.execute(
            "INSERT INTO tasks"
            " (instance, study_instance_uid, route, destination, role, state, next_at, changed_at, lane)"
            " VALUES (1, '1.2.3', 'all', 'ARCHIVE', 'primary', 'queued', 0, 5.0, 0)"
        )
    connection.close()
    spool = Spool(tmp_path / "spool")
    assert spool.reconcile(6.0).instances == 1
    [task] = spool.claim("ARCHIVE", 10, 5)
    spool.record_delivered(task, 11.0, sent=("1.2", "1.2.3.4"))
    assert spool.read("SELECT state, sent_uid FROM tasks") == [("uncommitted", "1.2.3.4")]
    assert spool.read("SELECT count(*) FROM reidentified") == [(0,)]
    assert spool.read("PRAGMA user_version") == [(VERSION,)]
    spool.close()
    fresh = Spool(tmp_path / "fresh")
    tables = "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
    again = Spool(tmp_path / "spool")
    assert again.read(tables) == fresh.read(tables), "and is as quick as a new one"
    again.close()
    fresh.close()


def test_after_a_failed_sync_the_journal_begins_anew_before_anything_is_recorded(tmp_path: Path) -> None:
    # T61
    spool = Spool(tmp_path / "spool")
    spool.add([make_stored(spool, "a")], to_archive)
    journal = tmp_path / "spool" / "queue.sqlite-wal"
    before = journal.stat().st_size
    spool._is_suspect = True
    assert spool.add([make_stored(spool, "b", "1.2.3.5", "bb")], to_archive) == [True]
    assert not spool._is_suspect
    assert 0 < journal.stat().st_size < before
    spool.close()


def test_while_the_journal_cannot_begin_anew_nothing_is_recorded(tmp_path: Path) -> None:
    # T61
    spool = Spool(tmp_path / "spool")
    spool.add([make_stored(spool, "a")], to_archive)
    spool._reader.execute("BEGIN")
    spool._reader.execute("SELECT count(*) FROM tasks").fetchall()
    spool._durable.execute("PRAGMA busy_timeout = 50")
    spool._is_suspect = True
    with pytest.raises(SpoolFullError):
        spool.add([make_stored(spool, "b", "1.2.3.5", "bb")], to_archive)
    spool._reader.execute("COMMIT")
    assert spool.add([make_stored(spool, "b", "1.2.3.5", "bb")], to_archive) == [True]
    spool.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_spool_that_cannot_be_made_is_told_and_nothing_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """T61: mkdir(2)."""

    def fail(*_arguments: object, **_named: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", fail)
    with pytest.raises(SpoolError, match="cannot be opened"):
        Spool(tmp_path / "spool")


@pytest.mark.parametrize("lost", ["missing", "cut", "told"])
def test_a_good_copy_takes_the_place_of_a_file_that_was_lost_or_damaged(spool: Spool, lost: str) -> None:
    """T76, T66: its sender hears success, so it must not be thrown away as a duplicate of what nobody can send."""
    spool.add([make_stored(spool, "a")], to_archive)
    if lost == "missing":
        spool.path("a").unlink()
        spool.reconcile(5)
    elif lost == "cut":
        spool.path("a").write_bytes(b"f")
    else:
        [task] = spool.claim("ARCHIVE", 10, 5)
        spool.record_quarantined(task, 6, "its file is not what was received: the hash differs")
    assert spool.add([make_stored(spool, "b")], to_archive) == [True]
    [task] = spool.claim("ARCHIVE", 10, 5)
    assert task.instance.path == spool.path("b")
    assert spool.add([make_stored(spool, "c")], to_archive) == [False]


def test_studies_that_may_wait_for_ever_do_not_keep_others_from_their_backup(spool: Spool) -> None:
    """T64: neither holds up the other, however many they are."""

    def by_called(instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return (Decision("patient" if instance.elements else "all", "send", "ARCHIVE"),)

    with spool.change_all() as connection:
        connection.executemany(
            "INSERT INTO choices VALUES (?, 'patient', 'ARCHIVE', 0, NULL)", ((f"9.{each}",) for each in range(1200))
        )
    spool.add([make_stored(spool, "a")], by_called)
    assert [row[0] for row in ledger.read_late_choices(spool, "all", "ARCHIVE", 5.0)] == ["1.2.3"]
    assert ledger.read_late_choices(spool, "all", "ARCHIVE", 4.9) == []


def test_a_study_is_resent_to_a_destination_of_its_route_that_never_had_it(spool: Spool) -> None:
    spool.add([make_stored(spool, "a")], to_archive)
    [task] = spool.claim("ARCHIVE", 10, 5)
    spool.record_delivered(task, 6)
    assert ledger.resend(spool, ledger.Resend("1.2.3", "BACKUP", ("all",)), 7) == 1
    assert [each.instance.spool_id for each in spool.claim("BACKUP", 10, 5)] == ["a"]
    assert spool.claim("ARCHIVE", 10, 5) == []
    with pytest.raises(UsageError, match="holds nothing"):
        ledger.resend(spool, ledger.Resend("1.2.3", "ELSEWHERE"), 8)


def test_a_clock_that_was_set_back_puts_nothing_off_for_years(spool: Spool) -> None:
    """T71: what a wrong clock wrote down holds up nothing once it is right."""

    def hold(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return (Decision("night", "hold", until=1e9),)

    def later(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return (Decision("all", "send", "ARCHIVE", "optional", 50_000.0),)

    spool.add([make_stored(spool, "a", "1.1")], to_archive)
    [task] = spool.claim("ARCHIVE", 10, 5)
    spool.record_failed(task, 1e9, 1e9 + 15, "no answer")
    spool.add([make_stored(spool, "b", "1.2")], hold)
    spool.add([make_stored(spool, "c", "1.3")], later)
    ledger.mend_times(spool, 100.0)
    assert [each.instance.spool_id for each in spool.claim("ARCHIVE", 100, 5)] == ["a"], "c waits for its own hour"
    assert spool.redecide(100.0, to_archive) == 1


def test_deciding_again_ends_in_time_and_goes_on_where_it_ended(spool: Spool) -> None:
    """Arrivals wait for it, so that a hundred thousand instances are asked about in many short pieces."""

    def hold(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return (Decision("all", "hold", until=50.0), Decision("other", "hold", until=50.0))

    spool.add([make_stored(spool, f"{number}", f"1.{number}", f"{number}") for number in range(7)], hold)
    counted = iter(range(1000))
    bound = Bound(2.5, lambda: float(next(counted)))
    assert [spool.redecide(60.0, to_archive, bound=bound) for _ in range(4)] == [3, 3, 1, 0]
    sent = [task.instance.spool_id for task in spool.claim("ARCHIVE", 70, 9)]
    assert sent == [str(number) for number in range(7)], "in the order in which they came"


def test_what_has_to_be_decided_again_is_found_without_sorting_what_waits(spool: Spool) -> None:
    plan = spool.read(
        "EXPLAIN QUERY PLAN SELECT instance FROM tasks WHERE state IN ('hold', 'wait') AND next_at <= 5"
        " ORDER BY next_at, id LIMIT 5"
    )
    assert [row[3] for row in plan] == ["SEARCH tasks USING INDEX tasks_waiting (next_at<?)"]


def count_pieces(change: Callable[[Pace], object]) -> int:
    """How many pieces it takes by a clock that moves on at each look, which ends one after ten rows."""
    breaths: list[float] = []
    counted = iter(range(100_000))
    change(Pace(Bound(9.5, lambda: float(next(counted))), breaths.append))
    return len(breaths) + 1


def test_what_concerns_all_rows_is_done_in_pieces_that_end_in_time(spool: Spool) -> None:
    """Arrivals wait for a piece, however many rows there are."""

    def nobody(_instance: ReceivedInstance, _study: StudyFacts) -> tuple[Decision, ...]:
        return ()

    spool.add([make_stored(spool, f"a{number}", f"1.{number}", f"a{number}") for number in range(35)], nobody)
    assert count_pieces(lambda pace: ledger.ask_again(spool, pace)) == 4
    assert ledger.count_states(spool)["unrouted"] == 0
    assert spool.redecide(1e6, to_archive) == 35
    for task in spool.claim("ARCHIVE", 1e6, 50):
        spool.record_failed(task, 1e9, 1e9 + 15, "no answer")
    assert count_pieces(lambda pace: ledger.mend_times(spool, 1e6, pace)) == 4 + 4 - 1, "the pauses, then the changes"
    assert len(spool.claim("ARCHIVE", 1e6, 50)) == 35
    for task in spool.claim("ARCHIVE", 1e6, 50):
        spool.record_failed(task, 1e6, 1e6 + 15, "no answer")
    assert count_pieces(lambda pace: ledger.retry(spool, "OTHER", pace)) == 1
    assert spool.claim("ARCHIVE", 1e6, 50) == []
    assert count_pieces(lambda pace: ledger.retry(spool, None, pace)) == 4
    assert len(spool.claim("ARCHIVE", 1e6, 50)) == 35


def test_what_changed_since_it_was_found_is_left_as_it_is(spool: Spool) -> None:
    spool.add([make_stored(spool, f"a{number}", f"1.{number}", f"a{number}") for number in range(2)], to_archive)
    for task in spool.claim("ARCHIVE", 1.0, 5):
        spool.record_failed(task, 1.0, 50.0, "no answer")

    def quarantine(_seconds: float) -> None:
        for task in spool.claim("ARCHIVE", 99.0, 5):
            spool.record_quarantined(task, 2.0, "refused")

    pace = Pace(Bound(0.0, iter((0.0, 1.0, 2.0, 3.0)).__next__), quarantine)
    assert ledger.retry(spool, None, pace) == 1
