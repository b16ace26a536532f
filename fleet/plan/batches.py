"""Who goes together, and when to stop: pure, so that a playbook and a test see the same batches."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from fleet.errors import UsageError


def make_batches(
    hosts: Sequence[str],
    serial: int | str | None,
    partners: Iterable[Iterable[str]] = (),
    canaries: Collection[str] = (),
) -> tuple[tuple[str, ...], ...]:
    """The hosts in their order, `serial` at a time, never two members of one group of partners together.

    `serial` is a number, a percentage like `25%` (rounded down, at least one), or None for as many as the
    groups allow. A group is a redundancy group or the hosts of one virtual service. `canaries` come first, in
    batches of their own.
    """
    size = count_serial(serial, len(hosts))
    groups = [frozenset(group) for group in partners]
    first = [host for host in hosts if host in canaries]
    rest = [host for host in hosts if host not in canaries]
    return (*_fill(first, size, groups), *_fill(rest, size, groups))


def count_canaries(text: int | str) -> int | None:
    """So many of the hosts; None where the text is a selector. Raises UsageError for a number that means nobody."""
    if isinstance(text, str) and not re.fullmatch(r"-?\d+", text.strip(), re.ASCII):
        return None
    if int(text) < 1:
        raise UsageError(f"canaries: {text} is no number of hosts: write 1 or more, or a selector")
    return int(text)


def _fill(hosts: Iterable[str], size: int, groups: Sequence[frozenset[str]]) -> tuple[tuple[str, ...], ...]:
    waiting = list(dict.fromkeys(hosts))
    batches: list[tuple[str, ...]] = []
    while waiting:
        batch: list[str] = []
        for host in waiting:
            if len(batch) < size and not _has_partner(host, batch, groups):
                batch.append(host)
        batches.append(tuple(batch))
        waiting = [host for host in waiting if host not in set(batch)]
    return tuple(batches)


def count_serial(serial: int | str | None, hosts: int) -> int:
    """How many hosts `serial` means out of so many."""
    if serial is None:
        return max(hosts, 1)
    if isinstance(serial, int):
        if serial < 1:
            raise UsageError(f"serial: {serial} is no number of hosts: write 1 or more, or a percentage like 25%")
        return serial
    return max(1, int(hosts * parse_percentage(serial, "serial") / 100))


def parse_percentage(text: str, key: str) -> float:
    """The number in `25%`."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*%", text.strip(), re.ASCII)
    if match is None or not 0 <= float(match[1]) <= 100:
        hosts = "" if key == "max_fail_percentage" else ", or a number of hosts, like 2"
        raise UsageError(f"{key}: {text!r} is no percentage: write a number from 0 to 100 and %, like 25%{hosts}")
    return float(match[1])


def _has_partner(host: str, batch: Sequence[str], groups: Sequence[frozenset[str]]) -> bool:
    return any(host in group and not group.isdisjoint(batch) for group in groups)


@dataclass(frozen=True, slots=True)
class FailureBudget:
    """How many hosts may fail, be unreachable, stale or rolled back before no new host starts."""

    max_fail: int = 0
    max_fail_percentage: float | None = None

    def is_spent(self, failed: int, total: int) -> bool:
        """Whether so many failures out of all hosts of the run are too many."""
        if self.max_fail_percentage is not None:
            return failed * 100 > self.max_fail_percentage * total
        return failed > self.max_fail
