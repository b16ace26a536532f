"""What a rule is given, what it is, and how it says what it found.

A rule is a module of `rules` with its codes, those that a team may waive, and `check`. It looks at the whole
inventory at once and yields problems; it never raises and never touches anything. The date is a parameter:
dates make problems only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Protocol

from fleet.documents.values import Document
from fleet.errors import Location, Problem, Severity
from fleet.inventory.model import Inventory, Placed
from fleet.inventory.peers import Peers
from fleet.inventory.select import Selectors


@dataclass(frozen=True)
class Context:
    """One inventory, the tables derived from it, and the day on which it is judged."""

    inventory: Inventory
    peers: Peers
    selectors: Selectors
    today: date

    @cached_property
    def documents(self) -> tuple[Document, ...]:
        """The files that the inventory was read from, in path order, as far as anything in them was kept."""
        inventory = self.inventory
        placed: list[Placed] = [
            *inventory.sites.values(),
            *inventory.hosts.values(),
            *inventory.entities,
            *inventory.flows,
            *inventory.probers,
            *inventory.schedules.values(),
            *inventory.relays,
            *inventory.virtual_services,
            *inventory.certificates.values(),
            *inventory.files,
            *inventory.waivers,
            *inventory.retired_titles,
        ]
        origins = [*(thing.origin for thing in placed), *inventory.group_origins.values(), inventory.fleet_origin]
        found = {origin.document.path: origin.document for origin in origins if origin.document}
        return tuple(found[path] for path in sorted(found))


class Rule(Protocol):
    """What every module of `rules` has."""

    @property
    def CODES(self) -> tuple[str, ...]:  # noqa: N802 - a module's constant
        """The codes of the problems that it makes."""

    @property
    def WAIVABLE(self) -> tuple[str, ...]:  # noqa: N802 - a module's constant
        """Those of its codes that a team may accept until a date."""

    def check(self, context: Context, /) -> Iterator[Problem]:
        """What is wrong."""


def error(code: str, message: str, at: Location, *also: Location, about: tuple[str, ...] = ()) -> Problem:
    """A problem that stops everything that touches the network."""
    return Problem(code, Severity.ERROR, message, at, also, about)


def warning(code: str, message: str, at: Location, *also: Location, about: tuple[str, ...] = ()) -> Problem:
    """A problem that stops nothing."""
    return Problem(code, Severity.WARNING, message, at, also, about)


def is_known(inventory: Inventory, word: str) -> bool:
    """Whether a name was typed but is broken: it is told elsewhere, so nobody calls it unknown.

    Where a whole file could not be read, it may be any name.
    """
    return word in inventory.left_out or inventory.unread


def is_over(until: str, today: date) -> bool:
    """Whether a date as typed has passed; one that is no date of the calendar has (a rule says so)."""
    try:
        return today > date.fromisoformat(until)
    except ValueError:
        return True


def show_text(text: str) -> str:
    """A text as it was typed, in quotes; only what nobody could see is written as an escape."""
    return "'" + "".join(each if each.isprintable() else repr(each)[1:-1] for each in text) + "'"


def few(words: tuple[str, ...] | list[str], most: int = 5) -> str:
    """Some words of many, and how many more there are."""
    shown = ", ".join(words[:most])
    return shown if len(words) <= most else f"{shown} and {len(words) - most} more"
