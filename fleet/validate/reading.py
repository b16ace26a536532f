"""The one door to an inventory: documents → schema → load, with every problem so far; no rules, no network."""

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fleet.documents.files import read_documents
from fleet.documents.values import Documents
from fleet.errors import Problem
from fleet.inventory.load import Loaded, load_inventory
from fleet.inventory.typed import Pointer
from fleet.secrets.vault import Vault
from fleet.validate.schema import check_document, text_keys


@dataclass(frozen=True, slots=True)
class Reading:
    """An inventory as far as it could be read, and all that is wrong with it so far, sorted."""

    loaded: Loaded
    documents: Documents = field(repr=False)
    problems: tuple[Problem, ...]


def read_inventory(root: Path, vault: Vault | None = None) -> Reading:
    """The inventory at `root` (a folder or one file); what is broken is left out and told.

    `vault` opens its secrets; without one they stay closed. Raises `UnreadableFile` where there is nothing to read.
    """
    with _collector_at_rest():
        return _read(root, vault)


@contextlib.contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Reading makes much that stays and no cycles: the cyclic collector would walk it all again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(root: Path, vault: Vault | None) -> Reading:
    documents, problems = read_documents(root, text_keys("inventory"), vault)
    broken: dict[str, frozenset[Pointer]] = {}
    for document in documents.documents:
        found, spoiled = check_document(document, "inventory")
        problems += found
        if spoiled:
            broken[document.path] = spoiled
    loaded = load_inventory(documents, broken)
    everything = dict.fromkeys((*problems, *loaded.problems))
    return Reading(loaded, documents, tuple(sorted(everything, key=lambda problem: problem.sort_key)))
