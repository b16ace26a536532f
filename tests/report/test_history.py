"""What is recorded is read back, by whoever asks, while others write."""

import sqlite3
import stat
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import HistoryError
from fleet.report.history.opening import History, open_history
from fleet.report.records import AppliedFleet, Snapshot
from fleet.report.summary import EchoLine, FileChange, HostLine
from tests.report.rows import echo, start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "fleet" / "history.sqlite"


def test_a_history_is_private_from_its_first_moment(path: Path) -> None:
    with open_history(path) as history:
        history.record_run_start(start())
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_history_that_others_may_read_is_made_private_again(path: Path) -> None:
    open_history(path).close()
    path.chmod(0o644)
    open_history(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_run_is_read_back_as_it_was_recorded(path: Path) -> None:
    begun = start(
        verb="apply", playbook="apply.yml", ticket="CHG-7", reason="new CT", git_commit="abc", inventory_digest="d"
    )
    with open_history(path) as history:
        history.record_run_start(begun)
        unfinished = history.show_run("r1")
        history.record_run_finish("r1", "2026-11-20T01:02:00Z", 2, {"hosts": {"failed": 1}})
        run = history.show_run("r1")
    assert (unfinished.start, unfinished.finished_at, unfinished.exit_status) == (begun, None, None)
    assert (run.finished_at, run.exit_status, run.summary) == ("2026-11-20T01:02:00Z", 2, {"hosts": {"failed": 1}})


def test_runs_are_listed_newest_first_and_found_by_a_beginning(path: Path) -> None:
    with open_history(path) as history:
        for number, verb in enumerate(["verify", "apply", "verify"]):
            history.record_run_start(start(f"run-{number}", verb))
        assert [run.run_id for run in history.list_runs()] == ["run-2", "run-1", "run-0"]
        assert [run.run_id for run in history.list_runs(1)] == ["run-2"]
        assert history.show_run("last").run_id == "run-2"
        assert history.show_run("run-1").run_id == "run-1"
        last = history.last_run("apply")
        assert last is not None
        assert last.run_id == "run-1"
        with pytest.raises(HistoryError, match="more than one run begins so"):
            history.show_run("run-")
        with pytest.raises(HistoryError, match=r"no such run; `fleet history`"):
            history.show_run("nowhere")


def test_every_field_of_a_sweep_survives(path: Path) -> None:
    lines = (
        echo(),
        echo("NORTH_CT01", "association_rejected", detail="rejected (permanent)", good=True, peer=None, status=None),
        echo("WS", "answered", warnings=["slow", "release failed"], certificate_days=12, host="h", virtual_service="v"),
        echo("Ü\x1b[31m\u202e", "not_dicom", asker="north-relay-1"),
    )
    with open_history(path) as history:
        history.record_run_start(start())
        history.record_echo_results("r1", lines[:2])
        history.record_echo_results("r1", lines[2:])
        found = history.last_sweep()
    assert found is not None
    assert found[0].run_id == "r1"
    assert found[1] == lines
    assert [list(line.row) for line in found[1]] == [list(line.row) for line in lines]


def test_text_that_is_no_unicode_does_not_lose_the_sweep(path: Path) -> None:
    with open_history(path) as history:
        history.record_run_start(start())
        history.record_echo_results("r1", [echo("A"), echo("B", detail="\udcff said"), echo("C")])
        titles = [line.row["ae_title"] for line in history.echo_results("r1")]
        assert titles == ["A", "B", "C"]
        assert history.echo_results("r1")[1].row["detail"] == "\\udcff said"


def test_hosts_are_read_back_with_the_files_that_changed_and_the_last_word_counts(path: Path) -> None:
    changed = HostLine("b", "converged", files=(FileChange("/etc/a", None, "1"), FileChange("/etc/b", "1", None)))
    with open_history(path) as history:
        history.record_run_start(start())
        history.record_host_outcomes(
            "r1", [HostLine("b", "pending"), HostLine("a", "unreachable", "connect", "no answer")]
        )
        history.record_host_outcomes("r1", [changed])
        assert history.host_outcomes("r1") == (HostLine("a", "unreachable", "connect", "no answer"), changed)


def test_failed_means_the_failures_of_the_last_run_that_touched_the_network(path: Path) -> None:
    with open_history(path) as history:
        with pytest.raises(HistoryError, match="@failed means nothing"):
            history.failed_names()
        history.record_run_start(start("r1"))
        history.record_echo_results("r1", [echo("A", "refused"), echo("B")])
        history.record_run_start(start("r2", "validate"))
        assert history.failed_names() == ("A",)
        history.record_run_start(start("r3", "apply"))
        history.record_host_outcomes(
            "r3", [HostLine("h1", "failed"), HostLine("h2", "unchanged"), HostLine("h3", "pending")]
        )
        history.record_echo_results("r3", [echo("C", "echo_timeout")])
        assert history.failed_names() == ("C", "h1")
        assert history.failed_names("r1") == ("A",)


def test_the_last_valid_inventory_comes_back_byte_by_byte_and_equal_files_are_kept_once(path: Path) -> None:
    first = Snapshot(
        "d1", "r1", "2026-11-20T01:00:00Z", {"fleet.yml": b"fleet: {}\n", "sites/north.yml": b"site: north\n"}
    )
    second = Snapshot(
        "d2", "r2", "2026-11-21T01:00:00Z", {"fleet.yml": b"fleet: {}\n", "sites/north.yml": b"site: n\n"}
    )
    with open_history(path) as history:
        assert history.last_valid_inventory() is None
        for snapshot in (first, second):
            history.record_run_start(start(snapshot.run_id))
            history.record_inventory(snapshot)
        assert history.last_valid_inventory() == second
        assert history.inventory_of("r1") == first
        history.record_run_start(start("r3"))
        history.record_inventory(replace(first, run_id="r3"))
        assert history.last_valid_inventory() == replace(first, run_id="r3")
        assert history.show_run("r3").start.inventory_digest == "d1"
        assert history._read("SELECT count(*) FROM documents") == [(3,)]


def test_what_was_last_applied_is_the_whole_fleet_and_hosts_are_known_until_forgotten(path: Path) -> None:
    with open_history(path) as history:
        assert history.last_applied() is None
        history.record_run_start(start("r1"))
        applied = AppliedFleet("r1", "2026-11-20T01:00:00Z", "d", frozenset({"A", "B"}), frozenset({"h1", "h2"}))
        history.record_applied(applied)
        history.record_run_start(start("r2"))
        later = AppliedFleet("r2", "2026-11-21T01:00:00Z", "e", frozenset({"A"}), frozenset({"h1"}))
        history.record_applied(later)
        assert history.last_applied() == later
        assert history.known_hosts() == {"h1", "h2"}
        assert history.forget_host("h2")
        assert not history.forget_host("h2")
        assert history.known_hosts() == {"h1"}


def test_the_last_mark_of_a_box_counts_and_earlier_ones_can_be_asked(path: Path) -> None:
    with open_history(path) as history:
        history.mark_done(
            [{"box": "CT", "digest": "1"}, {"box": "MR", "digest": "1"}], "", "2026-01-01", kind="assumed"
        )
        history.record_run_start(start("r1", started_at="2026-01-02"))
        history.mark_done([{"box": "CT", "digest": "2"}], "night", "2026-01-03")
        marks = history.sheet_marks()
        assert {box: (mark.digest, mark.kind, mark.who) for box, mark in marks.items()} == {
            "CT": ("2", "done", "night"),
            "MR": ("1", "assumed", ""),
        }
        assert marks["CT"].sheet == {"box": "CT", "digest": "2"}
        assert {mark.digest for mark in history.sheets_at("r1").values()} == {"1"}


def _sweep(history: History, run_id: str, lines: list[EchoLine]) -> None:
    history.record_run_start(start(run_id, started_at=f"2026-11-{run_id[1:]}T01:00:00Z"))
    history.record_echo_results(run_id, lines)


def test_a_streak_begins_where_the_target_was_last_seen_as_desired(path: Path) -> None:
    with open_history(path) as history:
        assert history.failing_since() == ()
        _sweep(history, "r01", [echo("A", "refused"), echo("B"), echo("C")])
        _sweep(history, "r02", [echo("A"), echo("B", "refused"), echo("C")])
        _sweep(history, "r03", [echo("A", "refused")])  # limited to one
        _sweep(history, "r04", [echo("A", "refused"), echo("B", "skipped_policy"), echo("C")])
        _sweep(history, "r05", [echo("A", "echo_timeout", detail="silent"), echo("B", "refused"), echo("C", "refused")])
        found = {each.ae_title: (each.outcome, each.since_run_id, each.sweeps) for each in history.failing_since()}
    assert found == {"A": ("echo_timeout", "r03", 3), "B": ("refused", "r02", 2), "C": ("refused", "r05", 1)}


def test_secrets_on_the_command_line_are_masked_before_they_are_stored(path: Path) -> None:  # T39
    words = (
        "fleet",
        "echo",
        "+pw",
        "CANARY1",
        "--vault-password=CANARY2",
        "https://me:CANARY3@host/",
        "--password",
        "CANARY4",
    )
    with open_history(path) as history:
        history.record_run_start(start(argv=(*words, "--password-file", "keep")))
        argv = history.show_run("r1").start.argv
    assert argv == (
        *("fleet", "echo", "+pw", "***", "--vault-password=***", "https://me:***@host/", "--password", "***"),
        *("--password-file", "keep"),
    )
    assert b"CANARY" not in path.read_bytes()


def test_a_run_is_recorded_once(path: Path) -> None:
    with open_history(path) as history:
        history.record_run_start(start())
        with pytest.raises(HistoryError, match="already holds this"):
            history.record_run_start(start())
        with pytest.raises(HistoryError, match="no such run"):
            history.record_run_finish("r9", "2026", 0)
        assert len(history.list_runs()) == 1


def test_reading_goes_on_while_somebody_writes(path: Path) -> None:
    with open_history(path) as writer, open_history(path, busy_timeout_s=0.0) as reader:
        writer.record_run_start(start("r1"))
        with writer._writing() as cursor:
            cursor.execute("UPDATE runs SET verb = 'apply'")
            assert reader.show_run("r1").start.verb == "verify"
        assert reader.show_run("r1").start.verb == "apply"


def test_a_writer_that_waits_in_vain_says_why(path: Path) -> None:
    with open_history(path) as one, open_history(path, busy_timeout_s=0.0) as two:
        with one._writing(), pytest.raises(HistoryError, match="another fleet has been writing"):
            two.record_run_start(start("r2"))
        two.record_run_start(start("r2"))
        assert len(one.list_runs()) == 1


def test_many_at_once_make_one_history_and_lose_nothing(path: Path) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                with open_history(path) as history:
                    run_id = f"r{number}-{turn}"
                    history.record_run_start(start(run_id))
                    history.record_echo_results(run_id, [echo(run_id), echo(run_id, "refused")])
        except BaseException as error:  # noqa: BLE001  told by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    with open_history(path, create=False) as history:
        runs = history.list_runs(100)
        assert len(runs) == 30
        for run in runs:
            assert [line.row["ae_title"] for line in history.echo_results(run.run_id)] == [run.run_id] * 2
        history.check()


def test_a_hundred_thousand_results_are_recorded_in_a_few_seconds_of_cpu(path: Path) -> None:
    lines = [echo()] * 100_000
    with open_history(path) as history:
        history.record_run_start(start())
        began = time.process_time()
        history.record_echo_results("r1", lines)
        assert time.process_time() - began < 4.0  # under one second on a machine that is not busy


def test_a_sweep_recorded_in_parts_is_one_span_unless_another_writes_in_between(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    with open_history(path) as ours, open_history(path) as theirs:
        ours.record_run_start(start("r1"))
        theirs.record_run_start(start("r2"))
        ours.record_echo_results("r1", [echo("A")])
        ours.record_echo_results("r1", [echo("B")])
        theirs.record_echo_results("r2", [echo("C")])
        ours.record_echo_results("r1", [])
        ours.record_echo_results("r1", [echo("D"), echo("E")])
        theirs.record_echo_results("r2", [echo("F")])
        titles = {run: [line.value("ae_title") for line in ours.echo_results(run)] for run in ("r1", "r2")}
    assert titles == {"r1": ["A", "B", "D", "E"], "r2": ["C", "F"]}
    with closing(sqlite3.connect(path)) as connection:
        spans = connection.execute("SELECT run, first_row, last_row FROM sweeps ORDER BY first_row").fetchall()
    assert spans == [(1, 1, 2), (2, 3, 3), (1, 4, 5), (2, 6, 6)]
