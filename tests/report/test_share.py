"""Failures with one cause are told once, and a cause is only what holds for a whole group."""

from typing import Any

from fleet.report.share import add_since, find_shared_causes
from fleet.report.summary import EchoLine
from tests.report.rows import echo


def south(number: int, outcome: str = "connect_timeout", **more: Any) -> EchoLine:
    return echo(f"S{number}", outcome, site="south", address=f"10.{number}.0.1", **more)


def told(lines: list[EchoLine]) -> tuple[list[str], list[str]]:
    causes, rest = find_shared_causes(lines)
    return [str(cause) for cause in causes], [str(line.row["ae_title"]) for line in rest]


def test_a_whole_site_that_ends_one_way_is_one_cause() -> None:
    lines = [*(south(n) for n in range(13)), echo(), echo("B", "refused")]
    assert told(lines) == (["13 connect_timeout: all of site=south"], ["B"])


def test_one_that_answers_makes_it_no_cause_of_the_site() -> None:
    assert told([*(south(n) for n in range(3)), south(9, "answered")]) == ([], ["S0", "S1", "S2"])


def test_two_ways_of_ending_are_no_one_cause() -> None:
    assert told([south(0), south(1), south(2, "refused"), echo()])[0] == []


def test_skipped_targets_neither_make_nor_break_a_cause() -> None:
    lines = [*(south(n) for n in range(3)), south(9, "skipped_policy"), echo()]
    assert told(lines)[0] == ["3 connect_timeout: all of site=south"]


def test_two_failures_are_not_a_group() -> None:
    assert told([south(0), south(1), echo()]) == ([], ["S0", "S1"])


def test_when_nobody_at_all_answers_it_is_said_once() -> None:
    assert told([south(n) for n in range(5)])[0] == ["5 connect_timeout: all that were asked"]


def test_a_network_is_a_cause_across_sites() -> None:
    lines = [echo(f"A{n}", "no_route", site=f"s{n}", address=f"10.9.9.{n + 1}") for n in range(3)]
    lines += [echo(f"B{n}", site=f"s{n}", address=f"10.8.{n}.1") for n in range(3)]
    assert told(lines)[0] == ["3 no_route: all of network=10.9.9.0/24"]


def test_a_host_that_asks_in_vain_is_the_cause_rather_than_those_it_asks() -> None:
    lines = [echo(f"A{n}", "unknown", site=f"s{n % 2}", address=f"10.{n}.0.1", asker="relay-1") for n in range(4)]
    assert told([*lines, echo(site="s0"), echo(site="s1")])[0] == ["4 unknown: all of from=relay-1"]


def test_a_cause_says_since_when_all_its_members_fail() -> None:
    causes, _ = find_shared_causes([south(n) for n in range(3)])
    started = "2026-11-20T04:00:00Z"
    since = {(f"S{n}", f"10.{n}.0.1", 11112): f"2026-11-20T01:5{n}:30Z" for n in range(3)}
    assert str(add_since(causes[0], since, started)) == "3 connect_timeout: all that were asked since 01:52Z"
    earlier = dict.fromkeys(since, "2026-11-18T01:58:00Z")
    assert str(add_since(causes[0], earlier, started)).endswith("since 2026-11-18 01:58Z")
    assert add_since(causes[0], dict.fromkeys(since, started), started).since == ""
    del since["S1", "10.1.0.1", 11112]
    assert add_since(causes[0], since, started).since == ""
