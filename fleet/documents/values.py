"""What was read: a file as plain values with the place of each, and all files of an inventory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.errors import Location
from fleet.secrets.vault import Vault

Position = tuple[int, int, int, int]  # key line, key column, value line, value column, all from 0


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One file as plain dicts, lists, text, integers, booleans and None, with where each was typed."""

    path: str
    value: Any
    positions: Mapping[int, Mapping[Any, Position]] = field(repr=False)
    holds_secrets: bool = False  # some of its values are a `Secret`

    def locate(self, pointer: Iterable[str | int], *, key: bool = False) -> Location:
        """Where the value at `pointer` was typed (its key with `key=True`), or its nearest known parent."""
        steps = tuple(pointer)
        text = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
        value, best = self.value, (1, 1)
        for number, step in enumerate(steps):
            position = self.positions.get(id(value), {}).get(step)
            if position is None:
                break
            last = number == len(steps) - 1
            best = (position[0], position[1]) if key and last else (position[2], position[3])
            best = (best[0] + 1, best[1] + 1)
            value = value[step]
        return Location(self.path, best[0], best[1], text)


@dataclass(frozen=True, slots=True)
class Documents:
    """All files of an inventory, in path order; `root` is where files beside them are looked for."""

    root: Path
    documents: tuple[Document, ...]
    digests: tuple[tuple[str, str], ...]  # (path below root, SHA-256), sorted
    vault: Vault = field(default_factory=Vault, repr=False, compare=False)
    unread: tuple[str, ...] = ()  # files of which nothing could be made: what they hold is not known to be absent
