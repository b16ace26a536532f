import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import UsageError
from fleet.plan.batches import FailureBudget, count_canaries, make_batches

HOSTS = tuple(f"h{number}" for number in range(8))


@pytest.mark.parametrize(
    ("serial", "sizes"),
    [(1, [1] * 8), (3, [3, 3, 2]), ("25%", [2, 2, 2, 2]), ("1%", [1] * 8), ("100%", [8]), (None, [8]), (99, [8])],
)
def test_serial_is_a_number_or_a_share_of_all(serial: int | str | None, sizes: list[int]) -> None:
    assert [len(batch) for batch in make_batches(HOSTS, serial)] == sizes


@pytest.mark.parametrize("serial", [0, -1, "x", "101%", "25", "-5%"])
def test_a_serial_that_means_nothing_is_wrong_usage(serial: int | str) -> None:
    with pytest.raises(UsageError):
        make_batches(HOSTS, serial)


@given(
    st.lists(st.sampled_from(HOSTS), unique=True),
    st.integers(1, 10),
    st.lists(st.sets(st.sampled_from(HOSTS), min_size=2), max_size=4),
)
def test_every_host_comes_once_and_never_beside_a_partner(  # T36
    hosts: list[str], serial: int, groups: list[set[str]]
) -> None:
    batches = make_batches(hosts, serial, groups)
    assert sorted(host for batch in batches for host in batch) == sorted(hosts)
    assert all(0 < len(batch) <= serial for batch in batches)
    assert all(len(group & set(batch)) <= 1 for group in groups for batch in batches)


@given(st.sets(st.sampled_from(HOSTS)), st.integers(1, 10))
def test_canaries_are_done_before_anybody_else_begins(canaries: set[str], serial: int) -> None:  # T37
    groups = [{"h0", "h1"}, {"h2", "h3"}]
    batches = make_batches(HOSTS, serial, groups, canaries)
    assert sorted(host for batch in batches for host in batch) == sorted(HOSTS)
    assert all(set(batch) <= canaries or not canaries & set(batch) for batch in batches), "a batch of their own"
    firsts = [set(batch) <= canaries for batch in batches]
    assert firsts == sorted(firsts, reverse=True)
    assert all(len(group & set(batch)) <= 1 for group in groups for batch in batches)


@pytest.mark.parametrize(("text", "number"), [(2, 2), ("3", 3), ("north-1", None), ("site=north", None)])
def test_canaries_are_so_many_or_a_selector(text: int | str, number: int | None) -> None:
    assert count_canaries(text) == number


@pytest.mark.parametrize("text", [0, "0", "-1"])
def test_no_canary_at_all_is_wrong_usage(text: int | str) -> None:
    with pytest.raises(UsageError, match="no number of hosts"):
        count_canaries(text)


def test_the_budget_is_spent_by_the_first_failure_too_many() -> None:  # T37
    assert not FailureBudget().is_spent(0, 500)
    assert FailureBudget().is_spent(1, 500)
    assert not FailureBudget(max_fail=2).is_spent(2, 500)
    assert FailureBudget(max_fail=2).is_spent(3, 500)
    assert not FailureBudget(max_fail_percentage=10).is_spent(50, 500)
    assert FailureBudget(max_fail_percentage=10).is_spent(51, 500)
