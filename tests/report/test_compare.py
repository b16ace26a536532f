"""What changed since the last sweep."""

from pathlib import Path

from fleet.report.compare import (
    Comparison,
    Earlier,
    compare_sweeps,
    format_comparison,
    leave_out_unasked,
    target_of,
)
from fleet.report.history.opening import open_history
from fleet.report.summary import EchoLine
from tests.report.rows import echo, start


def names(comparison: Comparison) -> dict[str, list[str]]:
    def title(item: EchoLine | tuple[EchoLine, EchoLine]) -> str:
        return str((item if isinstance(item, EchoLine) else item[1]).value("ae_title"))

    found = {field: [title(item) for item in getattr(comparison, field)] for field in Comparison.__slots__}
    return {field: titles for field, titles in found.items() if titles}


BEFORE = [
    echo("FELL"),
    echo("ROSE", "refused"),
    echo("STILL", "refused"),
    echo("OTHER", "refused"),
    echo("SLOW", elapsed_s=0.1),
    echo("STEADY"),
    echo("GONE"),
    echo("NIGHT", "skipped_policy"),
]
NOW = [
    echo("FELL", "connect_timeout", detail="no answer in 3 s"),
    echo("ROSE"),
    echo("STILL", "refused"),
    echo("OTHER", "echo_timeout"),
    echo("SLOW", elapsed_s=1.9),
    echo("STEADY", elapsed_s=0.09),
    echo("NEW"),
    echo("NIGHT", "refused"),
]


def test_each_target_is_compared_with_itself() -> None:
    assert names(compare_sweeps(BEFORE, NOW)) == {
        "newly_failing": ["FELL"],
        "failing_otherwise": ["OTHER"],
        "recovered": ["ROSE"],
        "slower": ["SLOW"],
        "appeared": ["NEW"],
        "gone": ["GONE"],
    }


def test_the_bad_news_comes_first() -> None:
    assert format_comparison(compare_sweeps(BEFORE, NOW), ["r1"]).splitlines() == [
        "newly failing: FELL 10.20.0.11:11112: was answered in 0.005 s, is connect_timeout no answer in 3 s",
        "failing otherwise: OTHER 10.20.0.11:11112: was refused, is echo_timeout",
        "slower: SLOW 10.20.0.11:11112: was answered in 0.100 s, is answered in 1.900 s",
        "recovered: ROSE 10.20.0.11:11112: was refused, is answered in 0.005 s",
        "not asked before: NEW",
        "no longer asked: GONE",
    ]


def test_nothing_new_is_one_line() -> None:
    assert format_comparison(compare_sweeps(NOW, NOW), ["r1"]) == "no change since r1\n"


def test_slower_is_measured_by_a_targets_own_habit() -> None:
    key = ("A", "10.20.0.11", 11112, "FLEET_SCU", "controller")
    before, now = [echo("A", elapsed_s=2.0)], [echo("A", elapsed_s=2.1)]
    assert compare_sweeps(before, now).slower == ()
    slower = compare_sweeps(before, now, {key: 0.1})
    assert format_comparison(slower, ["r1"]).startswith(
        "slower: A 10.20.0.11:11112: was answered in 2.000 s, is answered"
    )
    assert "(usually 0.100 s)" in format_comparison(slower, ["r1"])
    assert compare_sweeps([echo("A", elapsed_s=0.1)], now, {key: 2.0}).slower == (), "it is always that slow"


def test_a_habit_is_the_median_of_at_least_three_answers(tmp_path: Path) -> None:
    key = ("A", "10.20.0.11", 11112, "FLEET_SCU", "controller")
    with open_history(tmp_path / "history.sqlite") as history:
        for number, elapsed_s in enumerate((0.1, 0.3, 9.0, 0.2)):
            assert (key in history.habits()) is (number >= 3)
            run_id = f"r{number}"
            history.record_run_start(start(run_id))
            history.record_echo_results(run_id, [echo("A", elapsed_s=elapsed_s)])
            history.record_echo_results(run_id, [echo("B", "refused", elapsed_s=0.1)])
        assert history.habits() == {key: 0.25}


def test_who_moved_is_neither_new_nor_gone() -> None:
    told = format_comparison(compare_sweeps([echo("WS_2", port=104)], [echo("WS_2", port=11112)]), ["r1"])
    assert told == "asked elsewhere: WS_2 10.20.0.11:11112, before at 10.20.0.11:104\n"


def test_whom_a_narrowed_sweep_does_not_mean_is_no_news() -> None:
    before = [echo("A"), echo("B"), echo("A", port=104), echo("A", asker="pacs-1"), echo("C", asker="pacs-1")]
    whole = leave_out_unasked(before, [echo("A")], is_narrowed=False)
    narrowed = leave_out_unasked(before, [echo("A")], is_narrowed=True)
    assert whole == [echo("A"), echo("B"), echo("A", port=104)]
    assert narrowed == [echo("A"), echo("A", port=104)]


def test_a_target_that_is_new_and_was_not_asked_is_not_told() -> None:
    assert compare_sweeps([], [echo("NIGHT", "skipped_policy")]).appeared == ()


SWEEPS = {
    "r1": [echo("A"), echo("B", "refused"), echo("C"), echo("OLD")],
    "r2": [echo("A"), echo("B"), echo("C")],
    "r3": [echo("A", "refused"), echo("B", "skipped_maintenance")],
}


def earlier(path: Path, *titles: str, of: str = "now") -> Earlier:
    with open_history(path / "history.sqlite") as history:
        for run_id, lines in SWEEPS.items():
            history.record_run_start(start(run_id))
            history.record_echo_results(run_id, lines)
        return history.find_earlier(of, {target_of(echo(title)) for title in titles})


def test_each_target_is_compared_with_the_last_sweep_that_asked_it(tmp_path: Path) -> None:
    found = earlier(tmp_path, "A", "B", "C")
    assert found.runs == ("r3", "r2")
    assert set(found.lines) == {echo("A", "refused"), echo("B"), echo("C")}
    assert found.beside == (), "OLD was told when r2 did not ask it any more"


def test_who_stood_beside_the_last_results_is_known_too(tmp_path: Path) -> None:
    found = earlier(tmp_path, "C")
    assert (found.runs, found.lines) == (("r3", "r2"), (echo("C"),))
    assert set(found.beside) == {echo("A", "refused"), echo("B", "skipped_maintenance")}


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    assert earlier(tmp_path, "A", of="r3").lines == (echo("A"),)


def test_a_target_that_is_new_ends_the_walk_without_a_result(tmp_path: Path) -> None:
    found = earlier(tmp_path, "NEW")
    assert (found.runs, found.lines) == (("r3",), ())
