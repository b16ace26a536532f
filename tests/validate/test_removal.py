"""The guard against a half-empty inventory."""

from fleet.errors import Problem
from fleet.validate.removal import Names, check_removal, check_still_sent


def titles(count: int) -> Names:
    return frozenset(f"AE_{number:05}" for number in range(count))


def check(before: int, after: int, allowed: int = 0) -> list[Problem]:
    """Entities only; the one host stays."""
    return check_removal(titles(before), frozenset({"h"}), titles(after), frozenset({"h"}), allowed)


def test_a_deleted_file_that_would_remove_most_peers_is_refused() -> None:  # T19
    (problem,) = check(100, 40)
    assert problem.code == "removal-refused"
    assert "60 of 100 titles" in problem.message
    assert "--allow-removal=60" in problem.message
    assert "AE_00040" in problem.message
    assert len(problem.subjects) == 60


def test_more_than_ten_are_refused_and_ten_are_not() -> None:  # T19
    assert check(1000, 990) == []
    assert len(check(1000, 989)) == 1


def test_a_fifth_is_refused_and_less_is_not() -> None:  # T19
    assert check(16, 13) == []
    assert len(check(15, 12)) == 1


def test_fewer_than_three_are_never_refused() -> None:  # T19
    assert check(2, 0) == []


def test_the_operator_may_allow_so_many_and_not_one_more() -> None:  # T19
    assert check(100, 40, 60) == []
    assert len(check(100, 39, 60)) == 1


def test_hosts_are_counted_by_themselves() -> None:  # T19
    hosts = frozenset(f"host-{number}" for number in range(10))
    (problem,) = check_removal(titles(1000), hosts, titles(1000), frozenset(sorted(hosts)[:7]), 0)
    assert "3 of 10 hosts" in problem.message


def test_an_exchange_counts_what_vanished_and_not_the_sum() -> None:  # T19
    renamed = frozenset(f"NEW_{number}" for number in range(100))
    assert len(check_removal(titles(100), frozenset(), renamed, frozenset(), 0)) == 1


def test_a_first_run_and_a_growing_fleet_are_let_through() -> None:
    assert check(0, 50) == []
    assert check(50, 500) == []


SENDERS = {"ARCHIVE": {"CT01", "CT02"}, "STORE": {"ARCHIVE"}, "WS01": set[str]()}


def test_a_title_that_others_still_send_to_does_not_go_without_a_word() -> None:  # T19
    (problem,) = check_still_sent(SENDERS, frozenset({"CT01", "CT02", "STORE"}), 0)
    assert problem.subjects == ("ARCHIVE",)
    assert "ARCHIVE, which CT01, CT02 still send to" in problem.message
    assert "--allow-removal=1" in problem.message
    assert check_still_sent(SENDERS, frozenset({"CT01", "CT02", "STORE"}), 1) == []


def test_a_title_whose_senders_went_with_it_and_one_that_nobody_sent_to_may_go() -> None:
    assert check_still_sent(SENDERS, frozenset({"STORE"}), 0) == []
    assert check_still_sent(SENDERS, frozenset({"CT01", "CT02", "ARCHIVE", "STORE"}), 0) == []
