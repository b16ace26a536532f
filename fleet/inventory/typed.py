"""What was typed and what of it the schema left standing: the ground that every loading room stands on.

Broken values are left out and their names remembered, so that nobody then calls them unknown; a name typed
twice is told with both places. Everything here is read in path order and file order.
"""

import datetime
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from fleet.documents.values import Document, Documents
from fleet.errors import Problem, Severity
from fleet.inventory.model import Origin

Pointer = tuple[str | int, ...]
Broken = Mapping[str, frozenset[Pointer]]  # by document path


class Typed:
    """The documents, what is broken in them, and the problems that loading finds."""

    def __init__(self, documents: Documents, broken: Broken) -> None:
        self.documents = documents
        self.problems: list[Problem] = []
        self.left_out: set[str] = set()
        self._broken = broken
        self._spoiled = {
            path: {pointer[:length] for pointer in pointers for length in range(len(pointer) + 1)}
            for path, pointers in broken.items()
        }

    @property
    def incomplete(self) -> bool:
        """Whether something that was typed is not in what is loaded."""
        return bool(self.left_out or self._broken or self.documents.unread)

    def error(self, code: str, message: str, origin: Origin, *below: str | int, **more: Any) -> None:
        """Note a problem at `origin` (below it)."""
        self.problems.append(Problem(code, Severity.ERROR, message, origin.at(*below), **more))

    def twice(self, what: str, name: str, origin: Origin, first: Origin) -> None:
        """Two definitions of one name: neither may win in silence."""
        text = f"{what}: {name!r} is defined twice (first at {first.at()}); one of them would be lost; keep one"
        self.error("name-duplicate", text, origin, also=(first.at(),), subjects=(name,))

    def check_date(self, text: str | None, origin: Origin, *below: str | int) -> None:
        """A date of the right form that no calendar has is a slip, and would never come."""
        try:
            datetime.date.fromisoformat(text or "2000-01-01")
        except ValueError:
            self.error("date-unknown", f"no calendar has the date {text}; correct it", origin, *below)

    # What the schema left standing ---------------------------------------------------------------------

    def is_broken(self, document: Document, *steps: str | int) -> bool:
        """Whether the schema found something wrong at or below these steps."""
        spoiled = self._spoiled.get(document.path)
        return spoiled is not None and steps in spoiled

    def shared(self, document: Document, key: str) -> Any:
        """A top-level value that many inherit from, without the broken parts in it; None where there is none.

        Its whole parts stay: to drop all defaults for one slip would accuse every entity that relies on them.
        """
        value = document.value.get(key) if isinstance(document.value, dict) else None
        if not self.is_broken(document, key):
            return value
        below = [pointer[1:] for pointer in self._broken[document.path] if pointer[:1] == (key,)]
        return _prune(value, [pointer for pointer in below if pointer]) if isinstance(value, dict) else None

    @cached_property
    def broken_keys(self) -> frozenset[str]:
        """The top-level keys of which something was left out."""
        return frozenset(str(pointer[0]) for pointers in self._broken.values() for pointer in pointers if pointer)

    @property
    def inheritance_is_broken(self) -> bool:
        """Whether a value that others inherit was left out, or a file with it: that they lack it is then no news."""
        return bool(self.documents.unread) or not self.broken_keys.isdisjoint(("fleet", "defaults"))

    def listed(self, document: Document, key: str) -> Iterator[tuple[dict[str, Any], Origin]]:
        """The whole items of a list."""
        items = document.value.get(key) if isinstance(document.value, dict) else None
        checked = document.path in self._broken
        for index, value in enumerate(items if isinstance(items, list) else ()):
            if checked and self.is_broken(document, key, index):
                self._remember(value)
                continue
            yield value, Origin(document, (key, index))

    def named(self, document: Document, key: str) -> Iterator[tuple[str, Any, Origin]]:
        """The whole items of a mapping by name."""
        items = document.value.get(key) if isinstance(document.value, dict) else None
        for name, value in (items if isinstance(items, dict) else {}).items():
            if self.is_broken(document, key, name):
                self.left_out.add(str(name))
                continue
            yield name, value, Origin(document, (key, name))

    def _remember(self, value: Any) -> None:
        if not isinstance(value, dict):
            return
        further = value.get("also")
        for item in (value, *(further if isinstance(further, list) else ())):
            if isinstance(item, dict):
                self.left_out.update(item[key].strip(" ") for key in ("ae_title", "name") if _is_text(item.get(key)))

    def all_named(self, key: str) -> Iterator[tuple[str, Any, Origin]]:
        """Items of a mapping over all documents; of a name given twice the first is kept."""
        first: dict[str, Origin] = {}
        for document in self.documents.documents:
            for name, value, origin in self.named(document, key):
                if name in first:
                    self.twice(key, name, origin, first[name])
                    continue
                first[name] = origin
                yield name, value, origin

    def all_listed(self, key: str) -> Iterator[tuple[dict[str, Any], Origin]]:
        """Items of a list over all documents."""
        for document in self.documents.documents:
            yield from self.listed(document, key)


def below(origin: Origin, *steps: str | int) -> Origin:
    """The origin of something further in."""
    return Origin(origin.document, (*origin.steps, *steps))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _prune(value: Any, pointers: Iterable[Pointer]) -> Any:
    """A copy without what the pointers lead to; a list goes as a whole, since its items have no names."""
    inner: dict[Any, list[Pointer]] = {}
    for pointer in pointers:
        inner.setdefault(pointer[0], []).append(pointer[1:])
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, item in value.items():
        found = inner.get(key)
        if found is None:
            kept[key] = item
        elif () not in found and isinstance(item, dict):
            kept[key] = _prune(item, found)
    return kept
