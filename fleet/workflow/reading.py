"""inventory → validate: what is true, or every problem at once."""

from dataclasses import dataclass, field
from functools import cached_property

from fleet.documents.values import Documents
from fleet.errors import EmptySelection, InvalidInventory, Problem, Severity, UsageError
from fleet.inventory.load import Loaded
from fleet.inventory.model import Entity, Host, Inventory
from fleet.inventory.peers import Peers
from fleet.inventory.select import Selectors
from fleet.validate.check import check_inventory
from fleet.validate.reading import read_inventory
from fleet.workflow.context import Context


@dataclass(frozen=True)
class Reading:
    """The inventory as it was read, everything that is wrong with it, and the derived tables."""

    loaded: Loaded = field(repr=False)
    problems: tuple[Problem, ...]
    documents: Documents = field(repr=False)

    @property
    def inventory(self) -> Inventory:
        """The fleet."""
        return self.loaded.inventory

    @cached_property
    def selectors(self) -> Selectors:
        """Selectors over it."""
        return Selectors(self.inventory)

    @cached_property
    def peers(self) -> Peers:
        """Who talks to whom."""
        return Peers(self.inventory, self.selectors)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that stop everything that touches the network."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)

    def hosts(self, limit: str | None) -> tuple[Host, ...]:
        """The hosts that a limit means; all of them without one. Raises `EmptySelection`."""
        return self.selectors.hosts(limit) if limit else tuple(self.inventory.hosts.values())

    def entities(self, limit: str | None) -> tuple[Entity, ...]:
        """The entities that a limit means; all of them without one. Raises `EmptySelection`."""
        return self.selectors.entities(limit) if limit else self.inventory.entities


def read_all(context: Context) -> Reading:
    """Documents → schema → load → rules; every problem is in the result, none is raised.

    Raises `UnreadableFile` where there is no inventory to read.
    """
    read = read_inventory(context.inventory_root, context.vault)
    inventory = read.loaded.inventory
    found = check_inventory(inventory, Peers(inventory), context.clock().date())
    problems = sorted({*read.problems, *found}, key=lambda problem: problem.sort_key)
    return Reading(read.loaded, tuple(problems), read.documents)


def read_valid(context: Context, *, strict: bool = False) -> Reading:
    """The inventory, or `InvalidInventory` with every problem; with `strict` warnings stop it too."""
    reading = read_all(context)
    if reading.errors or (strict and reading.problems):
        raise InvalidInventory(reading.problems)
    return reading


def require_failed(names: tuple[str, ...]) -> str:
    """The selector that `@failed` stands for. Raises `EmptySelection` where nothing had failed."""
    if not names:
        raise EmptySelection("@failed: the last run had no failures; nothing was done")
    return ",".join(f"'{name}'" for name in names)


def check_limit(limit: str | None, option: str = "--limit") -> None:
    """An empty `--limit` is a slip of a script's variable, and must not mean everything."""
    if limit is not None and not limit.strip():
        raise UsageError(f"{option} is empty; leave it out for everything, or name something")
