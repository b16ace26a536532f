"""One slip is told as one: what only looks wrong because of it is held back. The example hospital, one line changed."""

import shutil
from datetime import date
from pathlib import Path

import pytest

from fleet.errors import Severity
from fleet.inventory.peers import Peers
from fleet.validate.check import check_inventory
from fleet.validate.reading import read_inventory

EXAMPLE = Path(__file__).parents[2] / "inventory"

SLIPS = {
    "an unclosed quote": ("fleet.yml", "institution: Mercy Health", 'institution: "Mercy', ["yaml-syntax"]),
    "a vault value that is none": (
        "fleet.yml",
        "    institution: Mercy",
        "    extra: !vault x\n    institution: Mercy",
        ["vault-damaged"],
    ),
    "a wrong profile": ("fleet.yml", "profile: basic", "profile: basc", ["schema-value"]),
    "a wrong variable": ("fleet.yml", "    institution: Mercy Health", "    in-stitution: x", ["schema-key"]),
    "a wrong indentation": ("sites/north.yml", "vars: {archive", " vars: {archive", ["yaml-syntax"]),
    "an unreadable site": ("sites/west.yml", "code: WEST}", "code: !other x}", ["yaml-tag"]),
    "a wrong host of an instance": (
        "sites/north.yml",
        "{host: north-pacs-2, port: 11112}",
        "{host: north-pacs-3, port: 11112}",
        ["unknown-host"],
    ),
    "a renamed host": ("sites/north.yml", "  north-pacs-2:\n", "  north-pacs_2:\n", ["unknown-host"]),
    "a relay text for nobody": (
        "fleet.yml",
        '- entity: "kind=relay"',
        '- entity: "kind=relai"',
        ["selector-matches-nothing"],
    ),
    # Each of these has to be typed anew; that a flow and a service look missing does not.
    "a renamed archive": (
        "sites/west.yml",
        "ae_title: WEST_PACS",
        "ae_title: WEST_PAC",
        ["selector-matches-nothing", "unknown-entity", "unknown-entity"],
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_one_slip_is_told_and_nothing_that_only_follows_from_it(slip: str, tmp_path: Path) -> None:
    name, old, new, expected = SLIPS[slip]
    root = tmp_path / "inventory"
    shutil.copytree(EXAMPLE, root)
    text = (root / name).read_text(encoding="utf-8")
    assert old in text
    (root / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    reading = read_inventory(root)
    inventory = reading.loaded.inventory
    problems = [*reading.problems, *check_inventory(inventory, Peers(inventory), date(2026, 11, 20))]
    assert sorted(each.code for each in problems if each.severity is Severity.ERROR) == expected
    held_back = [each for each in problems if each.code == "not-checked"]
    assert [each.location.document for each in held_back] == list(reading.documents.unread)
