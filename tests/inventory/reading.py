"""Inventories from a few lines of text, for tests."""

import textwrap
from pathlib import Path

from fleet.inventory.model import Entity
from fleet.validate.reading import Reading, read_inventory

FLEET = "fleet: {name: test}\n"


def write_files(root: Path, files: dict[str, str]) -> Path:
    """Files by path below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return root


def read_files(root: Path, files: dict[str, str]) -> Reading:
    """What is read from these files."""
    return read_inventory(write_files(root, files))


def read_text(root: Path, text: str) -> Reading:
    """What is read from one file, whose `fleet` may be left out."""
    plain = textwrap.dedent(text)
    return read_files(root, {"a.yml": plain if "fleet:" in plain else FLEET + plain})


def find(reading: Reading, title: str) -> Entity:
    """The entity with a title."""
    entity = reading.loaded.inventory.find_entity(title)
    assert entity is not None
    return entity


def tell(reading: Reading) -> list[str]:
    """Problems as `file:line:column code`."""
    return [
        f"{Path(each.location.document).name}:{each.location.line}:{each.location.column} {each.code}"
        for each in reading.problems
    ]
