"""A history that is torn, foreign or newer is refused with how to go on; it is never taken for an empty one. T44"""

import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from fleet.errors import HistoryError
from fleet.report.history.file import APPLICATION_ID, VERSION
from fleet.report.history.opening import open_history
from fleet.report.records import AppliedFleet, Snapshot
from tests.report.rows import echo, start


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "history.sqlite"
    with open_history(path) as history:
        history.record_run_start(start())
        history.record_inventory(Snapshot("d", "r1", "now", {"fleet.yml": b"fleet: {name: canary}\n" * 100}))
        history.record_applied(AppliedFleet("r1", "now", "d", frozenset({"TITLE_A", "TITLE_B"}), frozenset({"h"})))
        history.record_echo_results("r1", [echo(f"AE{number}") for number in range(300)])
    return path.read_bytes()


def test_a_history_cut_at_any_byte_is_refused_with_how_to_go_on(whole: bytes, tmp_path: Path) -> None:  # T44
    path = tmp_path / "history.sqlite"
    offsets = {*range(200), *range(200, len(whole), 199), *range(len(whole) - 100, len(whole))}
    for offset in sorted(offsets):
        path.write_bytes(whole[:offset])
        with pytest.raises(HistoryError, match=r"(?s)torn.*Move it aside.*backup"):
            open_history(path)
        assert path.read_bytes() == whole[:offset], "what is refused is left as it was"


def test_the_whole_file_opens(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(whole)
    with open_history(path, create=False) as history:
        assert len(history.list_runs()) == 1
        history.check()


@pytest.mark.parametrize("offset", [0, 16, 18, 100, 105, 4096, 4100, 8192, 12288, 20480, 28672])
def test_a_scratched_page_is_an_error_and_never_an_empty_answer(
    whole: bytes, tmp_path: Path, offset: int
) -> None:  # T44
    path = tmp_path / "history.sqlite"
    path.write_bytes(whole[:offset] + b"\xff" * 64 + whole[offset + 64 :])
    with pytest.raises(HistoryError), open_history(path) as history:
        history.check()


def test_a_history_cut_under_its_log_is_refused_or_repaired_but_never_empty(tmp_path: Path) -> None:  # T44
    path = tmp_path / "history.sqlite"
    open_history(path).close()
    history = open_history(path)
    history.record_run_start(start())
    history.record_echo_results("r1", [echo()] * 100)
    copy = tmp_path / "copy" / "history.sqlite"
    copy.parent.mkdir()
    survived: list[int] = []
    for offset in (0, 50, 100, 4096, 8192, path.stat().st_size - 1):
        copy.write_bytes(path.read_bytes()[:offset])
        shutil.copyfile(f"{path}-wal", f"{copy}-wal")
        Path(f"{copy}-shm").unlink(missing_ok=True)
        with suppress(HistoryError), open_history(copy) as cut:
            assert [run.run_id for run in cut.list_runs()] == ["r1"]
            assert len(cut.echo_results("r1")) == 100
            survived.append(offset)
    history.close()
    assert 0 not in survived


def test_a_log_whose_history_is_gone_is_no_new_beginning(whole: bytes, tmp_path: Path) -> None:  # T44
    path = tmp_path / "history.sqlite"
    Path(f"{path}-wal").write_bytes(b"x" * 100)
    with pytest.raises(HistoryError, match="is gone, but its log"):
        open_history(path)
    assert not path.exists()


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"dear diary, " * 100)
    with pytest.raises(HistoryError, match="no history of fleet, but some other file"):
        open_history(path)
    assert path.read_bytes().startswith(b"dear diary")


def test_another_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE runs (a)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="some other SQLite database"):
        open_history(path)
    assert path.read_bytes() == before


def test_a_newer_history_is_refused(whole: bytes, tmp_path: Path) -> None:  # T44
    path = tmp_path / "history.sqlite"
    path.write_bytes(whole)
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    newer.close()
    with pytest.raises(HistoryError, match="a newer fleet wrote it"):
        open_history(path)


def test_the_file_names_itself_as_ours(whole: bytes) -> None:
    assert int.from_bytes(whole[68:72], "big") == APPLICATION_ID == int.from_bytes(b"FLET", "big")


def test_no_history_is_said_where_one_is_needed(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="there is no history yet"):
        open_history(tmp_path / "none.sqlite", create=False)


@pytest.mark.parametrize(
    ("statement", "ask"),
    [
        ('UPDATE applied SET names = \'{"titles": [], "hosts": []}\'', "last_applied"),
        ("UPDATE documents SET content = x'789c030000000001'", "last_valid_inventory"),
        ("UPDATE documents SET content = x'00'", "last_valid_inventory"),
    ],
)
def test_what_decisions_rest_on_is_compared_with_its_digest(
    whole: bytes, tmp_path: Path, statement: str, ask: str
) -> None:  # T44
    path = tmp_path / "history.sqlite"
    path.write_bytes(whole)
    with sqlite3.connect(path) as other:
        other.execute(statement)
    other.close()
    with open_history(path) as history, pytest.raises(HistoryError, match="is not what was recorded"):
        getattr(history, ask)()
