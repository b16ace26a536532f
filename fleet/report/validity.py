"""Whether an inventory is valid, and how much there is of it: the last line of `fleet validate`."""

from collections.abc import Sequence

from fleet.errors import Problem, Severity
from fleet.inventory.model import Inventory
from fleet.report.text import count_of, format_problem_counts


def format_validity(inventory: Inventory, problems: Sequence[Problem], *, strict: bool = False) -> str:
    """One line; with `strict` warnings make it invalid too."""
    counts = (
        (len(inventory.entities), "entity", "entities"),
        (sum(len(entity.titles) for entity in inventory.entities), "title", "titles"),
        (len(inventory.sites), "site", "sites"),
        (len(inventory.hosts), "host", "hosts"),
    )
    known = ", ".join(count_of(number, one, many) for number, one, many in counts)
    has_errors = any(problem.severity is Severity.ERROR for problem in problems)
    counts_too = strict and bool(problems) and not has_errors
    verdict = "is not valid" if has_errors or counts_too else "is valid"
    why = " (--strict: warnings count)" if counts_too else ""
    told = f": {format_problem_counts(problems)}" if problems else ""
    return f"{inventory.name or 'the inventory'} {verdict}{told}{why} ({known})"
