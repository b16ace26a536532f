"""One file, several fleets: what is read concerns the fleet that was named, and nothing is lost on the way there."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fleet.errors import HistoryError, PlanStale
from fleet.report.history import tables
from fleet.report.history.file import APPLICATION_ID, VERSION, check_file, rebuild_hint
from fleet.report.history.opening import History, open_history
from fleet.report.records import AppliedFleet, Snapshot
from fleet.report.summary import HostLine
from tests.report.rows import echo, start


def fill(history: History, fleet: str, run_id: str) -> None:
    """An apply of a fleet with one host, `shared`, and one of its own; a box that does not answer."""
    history.record_run_start(start(run_id, "apply"))
    history.record_fleet(run_id, fleet)
    history.record_inventory(Snapshot(f"digest-{fleet}", run_id, "now", {"fleet.yml": fleet.encode()}))
    history.record_host_outcomes(run_id, [HostLine(f"{fleet}-1", "failed", "check", "bad")])
    history.record_echo_results(run_id, [echo(fleet.upper(), "refused")])
    hosts = frozenset({"shared", f"{fleet}-1"})
    history.record_applied(AppliedFleet(run_id, "now", f"digest-{fleet}", frozenset({fleet.upper()}), hosts))
    history.mark_done([{"box": "WS_1", "digest": fleet}], "somebody", "now")


@pytest.fixture
def both(tmp_path: Path) -> Path:
    path = tmp_path / "history.sqlite"
    with open_history(path) as history:
        fill(history, "mercy", "r1")
        fill(history, "harbour", "r2")
    return path


@pytest.mark.parametrize("fleet", ["mercy", "harbour"])
def test_what_is_read_is_of_the_fleet_that_was_named(both: Path, fleet: str) -> None:
    run_id = {"mercy": "r1", "harbour": "r2"}[fleet]
    with open_history(both) as history:
        history.concern(fleet)
        applied, snapshot, sweep = history.last_applied(), history.last_valid_inventory(), history.last_sweep()
        assert applied is not None
        assert snapshot is not None
        assert sweep is not None
        assert [applied.run_id, snapshot.run_id, sweep[0].run_id] == [run_id] * 3
        assert history.known_hosts() == {"shared", f"{fleet}-1"}
        assert history.failed_names() == (fleet.upper(), f"{fleet}-1")
        assert [each.ae_title for each in history.failing_since()] == [fleet.upper()]
        assert history.sheet_marks()["WS_1"].digest == fleet
        assert [run.run_id for run in history.list_runs()] == [run_id]
        assert history.show_run("last").start.fleet == fleet


def test_a_run_of_another_fleet_is_not_compared_with_and_says_whose_it_is(both: Path) -> None:
    with open_history(both) as history:
        history.concern("mercy")
        with pytest.raises(HistoryError, match="run 'r2' is of the fleet 'harbour', not of 'mercy'"):
            history.echo_results("r2")


def test_a_host_that_one_fleet_forgets_is_still_known_to_the_other(both: Path) -> None:
    with open_history(both) as history:
        history.concern("mercy")
        assert history.forget_host("shared")
        assert not history.forget_host("harbour-1")
        history.concern("harbour")
        assert "shared" in history.known_hosts()


def test_without_a_name_every_run_is_listed(both: Path) -> None:
    with open_history(both) as history:
        assert [run.run_id for run in history.list_runs()] == ["r2", "r1"]
        assert history.fleets() == ("harbour", "mercy")


def test_a_history_of_version_1_keeps_its_guard_and_is_everybodys(tmp_path: Path) -> None:  # T19
    path = tmp_path / "history.sqlite"
    older = tables.CREATE.replace(f"user_version = {VERSION}", "user_version = 1").replace(", fleet TEXT)", ")")
    older = older.replace(tables.KNOWN_HOSTS, "CREATE TABLE known_hosts (host TEXT PRIMARY KEY, run INTEGER) STRICT")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(older)
        connection.execute(
            "INSERT INTO runs (run_id, verb, started_at, playbook, who, from_where, ticket, reason, git_commit,"
            " inventory_digest, argv) VALUES ('old', 'apply', 'then', '', '', '', '', '', '', '', '[]')"
        )
        connection.execute("INSERT INTO known_hosts VALUES ('h', 1), ('gone', 1)")
    with open_history(path) as history:
        history.concern("mercy")
        assert history.known_hosts() == {"h", "gone"}
        history.record_run_start(start("new", "apply"))
        history.record_fleet("new", "mercy")
        history.record_applied(AppliedFleet("new", "now", "d", frozenset(), frozenset({"h"})))
        assert history.known_hosts() == {"h", "gone"}
        history.concern("harbour")
        assert history.known_hosts() == {"gone"}  # nobody has said yet whose it was
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_a_history_of_version_2_keeps_all_that_is_in_it_and_gets_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    older = tables.CREATE.replace(f"user_version = {VERSION}", "user_version = 2")
    assert tables.JOURNAL_AND_PLANS in older
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(older.replace(tables.JOURNAL_AND_PLANS, ""))
        connection.execute(
            "INSERT INTO runs (run_id, verb, started_at, playbook, who, from_where, ticket, reason, git_commit,"
            " inventory_digest, argv, fleet) VALUES ('old', 'apply', 'then', '', '', '', '', '', '', '', '[]', 'x')"
        )
    with open_history(path) as history:
        assert [run.run_id for run in history.list_runs()] == ["old"]
        assert (history.read_journal_head(), history.plan_of("old"), history.use_of_plan("p")) == (None, None, None)
        assert history.read_key() == history.read_key()
        history.claim_plan("p", "old", "then")
        with pytest.raises(PlanStale, match="was applied already, on then"):
            history.claim_plan("p", "old", "later")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_how_to_go_on_names_the_path_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "Mercy" / "History.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"")
    with pytest.raises(HistoryError) as caught:
        check_file(path)
    assert str(caught.value).endswith("M" + rebuild_hint(path)[1:])
    assert f"`mv {path} {path}.broken`" in str(caught.value)
