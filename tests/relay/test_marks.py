"""Notes of deliveries: they survive the process, are carried into the queue once, and mean nothing afterwards."""

import errno
import os
import threading
from pathlib import Path

import pytest

from fleet.relay.operate import ledger
from fleet.relay.spool.marks import Mark, Marks
from fleet.relay.spool.queue import Spool
from tests.relay.sink import Script, sinking
from tests.relay.test_forward import Bench


def read(spool: Spool) -> list[str]:
    return [row[0] for row in spool.read("SELECT state FROM tasks ORDER BY id")]


def abandon(spool: Spool) -> None:
    """What is left of a process that was killed: descriptors close, nothing is carried anywhere."""
    for connection in (spool._durable, spool._quick, spool._reader):
        connection.close()
    spool._marks.close()
    os.close(spool._lock_file)


def test_nobody_sees_no_notes_while_a_transaction_is_taking_them(tmp_path: Path) -> None:
    # T60: whoever claimed in that moment sent an instance again whose answer was heard
    marks = Marks(tmp_path / "delivered")
    marks.recover(0)
    marks.note(Mark(0, 1, "ARCHIVE", 5.0, ""))
    seen: list[bool] = []
    asks = threading.Thread(target=lambda: seen.append(marks.has_pending))
    with marks._lock:  # as `take` has it between its two steps
        taken, marks._pending = marks._pending, []
        asks.start()
        asks.join(0.05)
        assert not seen
        marks._is_on_its_way = bool(taken)
    asks.join(5)
    marks.close()
    assert seen == [True]


def test_a_delivery_that_was_only_noted_is_in_the_queue_after_a_kill(tmp_path: Path) -> None:
    """T60: between forward and mark."""
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 3)
        first, *_ = bench.spool.claim("ARCHIVE", 2.0, 3)
        bench.spool.record_delivered(first, 5.0, "status B000")
        abandon(bench.spool)
    spool = Spool(tmp_path / "spool")
    assert read(spool) == ["delivered", "queued", "queued"]
    assert (tmp_path / "spool" / "delivered").stat().st_size == 0
    spool.close()


def test_what_was_resent_is_not_taken_for_delivered_by_an_old_note(tmp_path: Path) -> None:
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 1)
        [task] = bench.spool.claim("ARCHIVE", 2.0, 3)
        bench.spool.record_delivered(task, 5.0)
        assert read(bench.spool) == ["delivered"]
        ledger.resend(bench.spool, ledger.Resend("1.2.3"), 6.0)
        with (tmp_path / "spool" / "delivered").open("ab") as file:  # as if it had not been emptied yet
            file.write(b"\n")
            Marks(tmp_path / "other").note(Mark(0, 1, "ARCHIVE", 5.0, ""))
            file.write((tmp_path / "other").read_bytes())
        abandon(bench.spool)
    spool = Spool(tmp_path / "spool")
    assert read(spool) == ["queued"]
    spool.close()


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_what_a_power_cut_left_of_a_note_is_none(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "delivered"
    marks = Marks(path)
    for number in range(3):
        marks.note(Mark(0, number, "ARCHIVE", 1.0, ""))
    data = path.read_bytes()
    line = len(data) // 3
    path.write_bytes(data[: 2 * line] + data[2 * line : 2 * line + min(cut, line - 2)] + bytes(20))
    again = Marks(path)
    again.recover(1)
    assert [mark.task_id for mark in again.take()] == [1]


def test_a_note_that_cannot_be_written_goes_into_the_queue_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T61."""
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 1)
        [task] = bench.spool.claim("ARCHIVE", 2.0, 3)

        def full(*_arguments: object) -> None:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(bench.spool._marks, "note", full)
        bench.spool.record_delivered(task, 5.0)
        assert read(bench.spool) == ["delivered"]


def test_what_was_noted_is_not_claimed_again(tmp_path: Path) -> None:
    with sinking(Script()) as script:
        bench = Bench(tmp_path, script, 2)
        first, second = bench.spool.claim("ARCHIVE", 2.0, 3)
        bench.spool.record_delivered(first, 5.0)
        assert [task.task_id for task in bench.spool.claim("ARCHIVE", 2.0, 3)] == [second.task_id]


def test_a_line_that_was_cut_off_takes_no_further_one_with_it(tmp_path: Path) -> None:
    """T60: what a power cut left of a line, and then a kill."""
    (tmp_path / "delivered").write_bytes(b'0000 [1, 7, "ARCH')
    marks = Marks(tmp_path / "delivered")
    marks.recover(0)
    marks.note(Mark(0, 8, "ARCHIVE", 5.0, ""))
    marks.close()
    again = Marks(tmp_path / "delivered")
    again.recover(0)
    assert [mark.task_id for mark in again.take()] == [8]
