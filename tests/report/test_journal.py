"""A journal that anybody has touched says so, and at which line; what a crash left is told apart from that."""

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import HistoryError
from fleet.report.history.opening import open_history
from fleet.report.journal import GENESIS, Head, Journal, KnownHead, journal_of, read_alone, seal, unseal
from fleet.report.journal_check import Checked, check_journal, parse_head

NOW = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)


@dataclass
class Memory:
    """What the history remembers, without one."""

    known: KnownHead | None = None

    def read_journal_head(self) -> KnownHead | None:
        return self.known

    def record_journal_head(self, known: KnownHead) -> None:
        self.known = known


@dataclass
class Book:
    """A journal of five events, settled."""

    path: Path
    memory: Memory
    journal: Journal

    @property
    def lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines(keepends=True)

    def rewrite(self, lines: list[bytes]) -> Checked:
        self.path.write_bytes(b"".join(lines))
        return self.check()

    def check(self, witness: Head | None = None) -> Checked:
        with read_alone(self.path) as data:
            return check_journal(data, self.memory.known, witness)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    memory = Memory()
    path = journal_of(tmp_path / "history.sqlite")
    book = Book(path, memory, Journal(path, memory, lambda: NOW))
    for number in range(5):
        book.journal.append({"event": "host", "host": f"north-{number}"})
    book.journal.settle()
    return book


def faults(checked: Checked) -> list[int]:
    return [fault.line for fault in checked.faults]


def test_a_journal_that_nobody_touched_is_whole_and_private(book: Book) -> None:
    checked = book.check()
    assert (checked.faults, checked.remarks, checked.lines) == ((), (), 5)
    assert book.memory.known == KnownHead(checked.head, checked.head)
    assert oct(book.path.stat().st_mode & 0o777) == "0o600"
    first = json.loads(book.lines[0])
    assert (first["n"], first["prev"], first["at"]) == (1, GENESIS, "2026-11-20T14:00:00Z")


def edited(line: bytes) -> bytes:
    return line.replace(b"north", b"south")


def forged(line: bytes) -> bytes:
    """Edited by somebody who knows how a line is sealed."""
    fields = json.loads(edited(line))
    body = {name: value for name, value in fields.items() if name not in {"n", "prev", "hash"}}
    return seal(fields["n"], fields["prev"], body)[0] + b"\n"


TAMPERED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], list[int]]] = {
    "edited": (lambda lines: [*lines[:2], edited(lines[2]), *lines[3:]], [3]),
    "edited and sealed again": (lambda lines: [*lines[:2], forged(lines[2]), *lines[3:]], [3]),
    "the last edited": (lambda lines: [*lines[:4], edited(lines[4])], [5]),
    "the last edited and sealed again": (lambda lines: [*lines[:4], forged(lines[4])], [5]),
    "the first deleted": (lambda lines: lines[1:], [1]),
    "deleted": (lambda lines: [*lines[:2], *lines[3:]], [3]),
    "two moved": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], [2, 3, 4]),
    "one twice": (lambda lines: [*lines[:3], lines[2], *lines[3:]], [4]),
    "one put in": (lambda lines: [*lines[:2], b'{"n":3}\n', *lines[2:]], [3, 4]),
    "an empty line": (lambda lines: [*lines[:2], b"\n", *lines[2:]], [3, 4]),
    "cut off": (lambda lines: lines[:3], [3]),
    "emptied": (lambda _lines: [], [0]),
    "the end cut in a line": (lambda lines: [*lines[:4], lines[4][:-9]], [4, 5]),
    "only the last newline cut": (lambda lines: [*lines[:4], lines[4][:-1]], [4, 5]),
    "one added": (lambda lines: [*lines, seal(6, json.loads(lines[4])["hash"], {"event": "x"})[0] + b"\n"], [6]),
    "a blank in it": (lambda lines: [lines[0].replace(b":", b": ", 1), *lines[1:]], [1]),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_every_way_to_change_it_is_found_and_told_with_its_line(book: Book, how: str) -> None:
    change, expected = TAMPERED[how]
    checked = book.rewrite(change(book.lines))
    assert faults(checked) == expected, checked.faults
    assert checked.remarks == ()


def test_a_whole_file_that_was_replaced_by_a_sound_one_is_found(book: Book) -> None:
    other = Journal(book.path.with_name("other"), Memory(), lambda: NOW)
    for number in range(5):
        other.append({"event": "host", "host": f"south-{number}"})
    assert faults(book.rewrite([other.path.read_bytes()])) == [5]


def test_a_file_that_is_gone_is_found(book: Book) -> None:
    book.path.unlink()
    assert "the journal is gone" in str(book.check().faults[0])


def test_a_journal_that_this_history_does_not_know_is_found(book: Book) -> None:
    book.memory.known = None
    assert "belongs to another history" in str(book.check().faults[0])


def test_before_the_first_apply_there_is_nothing_wrong(tmp_path: Path) -> None:
    checked = check_journal(None, None)
    assert (checked.faults, len(checked.remarks)) == ((), 1)


def test_a_journal_into_which_nothing_could_be_written_accuses_nobody() -> None:
    """Made, and then the disk was full."""
    checked = check_journal(b"", None)
    assert (checked.faults, "no line in it yet" in checked.remarks[0]) == ((), True)
    assert check_journal(b"x\n", None).faults


def test_whoever_rewrites_journal_and_history_together_is_found_by_a_head_from_elsewhere(book: Book) -> None:
    known = book.check().head
    lines, before = [], GENESIS
    for line in book.lines:
        fields = json.loads(edited(line))
        body = {name: value for name, value in fields.items() if name not in {"n", "prev", "hash"}}
        sealed, head = seal(fields["n"], before, body)
        lines.append(sealed + b"\n")
        before = head.digest
    book.memory.known = KnownHead(head, head)
    assert book.rewrite(lines).faults == ()
    assert "was rewritten" in str(book.check(known).faults[0])
    assert parse_head(str(known)) == known


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_byte_that_is_changed_is_found(data: st.DataObject) -> None:
    memory, before, lines = Memory(), Head(), b""
    for number in range(4):
        line, before = seal(before.number + 1, before.digest, {"event": "host", "host": f"north-{number}"})
        lines += line + b"\n"
    memory.known = KnownHead(before, before)
    place = data.draw(st.integers(0, len(lines) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != lines[place]))
    assert check_journal(lines[:place] + bytes([byte]) + lines[place + 1 :], memory.known).faults


# Crashes -------------------------------------------------------------------------------------------------


def crash(book: Book, kept_bytes: int) -> None:
    """The controller was killed when so much of two further lines had been written."""
    before = book.path.read_bytes()
    book.journal.append({"event": "host", "host": "north-5"}, {"event": "end"})
    written = book.path.read_bytes()[len(before) :]
    book.path.write_bytes(before + written[:kept_bytes])


def two_lines(book: Book) -> int:
    before = len(book.path.read_bytes())
    known = book.memory.known
    book.journal.append({"event": "host", "host": "north-5"}, {"event": "end"})
    size = len(book.path.read_bytes()) - before
    os.truncate(book.path, before)
    book.memory.known = known
    return size


def test_a_writing_that_a_crash_cut_at_any_byte_is_no_tampering_and_is_mended(book: Book) -> None:
    whole = two_lines(book)
    before, known = book.path.read_bytes(), book.memory.known
    for kept in range(whole + 1):
        book.path.write_bytes(before)
        book.memory.known = known
        crash(book, kept)
        checked = book.check()
        assert checked.faults == (), (kept, checked.faults)
        assert bool(checked.remarks) == (kept < whole), kept
        book.journal.append({"event": "begin"})
        book.journal.settle()
        mended = book.check()
        assert mended.faults == (), (kept, mended.faults)
        assert bool(mended.remarks) == (kept < whole), kept


def test_what_is_missing_after_a_run_that_ended_is_no_crash(book: Book) -> None:
    book.path.write_bytes(b"".join(book.lines[:4]))
    assert faults(book.check()) == [4]


def test_an_apply_after_tampering_goes_on_and_keeps_the_evidence(book: Book) -> None:
    book.rewrite(book.lines[:3])
    book.journal.append({"event": "begin"})
    book.journal.settle()
    checked = book.check()
    assert faults(checked) == [4], checked
    assert "did not end as it had left it" in str(checked.faults[0])
    assert [json.loads(line)["event"] for line in book.lines][-2:] == ["broken", "begin"]


def test_a_journal_that_was_moved_away_says_so_in_its_first_line(book: Book) -> None:
    book.path.rename(book.path.with_name("kept"))
    book.journal.append({"event": "begin"})
    checked = book.check()
    assert faults(checked) == [1]
    assert "ended with 0:" in str(checked.faults[0])


# Writing -------------------------------------------------------------------------------------------------


def test_sixteen_who_write_at_once_make_one_chain(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "history.sqlite")
    open_history(tmp_path / "history.sqlite").close()

    def write(number: int) -> None:
        with open_history(tmp_path / "history.sqlite") as history:
            journal = Journal(path, history, lambda: NOW)
            for _ in range(5):
                journal.append({"event": "host", "host": f"north-{number}"})
            journal.settle()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open_history(tmp_path / "history.sqlite") as history, read_alone(path) as data:
        checked = check_journal(data, history.read_journal_head())
    assert (checked.lines, checked.faults, checked.remarks) == (80, (), ())


def test_a_line_longer_than_what_is_read_at_once_is_followed(book: Book) -> None:
    book.journal.append({"event": "begin", "hosts": ["north-" + "x" * 200] * 1000})
    book.journal.append({"event": "end"})
    book.journal.settle()
    assert book.check().faults == ()


def test_what_cannot_be_written_is_an_error_and_not_forgotten(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fleet.report.journal.os.write", full)
    with pytest.raises(HistoryError, match="No space left"):
        book.journal.append({"event": "begin"})
    monkeypatch.undo()
    assert book.check().faults == ()


def test_a_link_in_its_place_is_not_followed(book: Book, tmp_path: Path) -> None:
    book.path.rename(tmp_path / "elsewhere")
    book.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HistoryError, match="cannot be opened"):
        book.journal.append({"event": "begin"})


@pytest.mark.parametrize("line", [b"", b"[]", b"1", b"null", b'{"n":1}', b"\xff", b'{"n":1,"prev":2,"hash":NaN}'])
def test_what_is_no_line_of_ours_has_no_seal(line: bytes) -> None:
    assert unseal(line) is None


@pytest.mark.parametrize("what", ["pipe", "link", "folder"])
def test_what_is_no_file_in_the_journal_s_place_holds_nobody_and_is_written_into_by_nobody(
    book: Book, what: str
) -> None:
    book.path.rename(book.path.with_name("elsewhere"))
    if what == "pipe":
        os.mkfifo(book.path)
    elif what == "link":
        book.path.symlink_to("elsewhere")
    else:
        book.path.mkdir()
    before = book.path.with_name("elsewhere").read_bytes()
    with pytest.raises(HistoryError, match="cannot be read"):
        book.check()
    with pytest.raises(HistoryError, match="cannot be opened"):
        Journal(book.path, book.memory, lambda: NOW).append({"event": "end"})
    assert book.path.with_name("elsewhere").read_bytes() == before
