"""The schema as a document for people and editors."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fleet.documents.packaged import read_schema

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "inventory").rglob("*.yml"))
MODELINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")


def properties_in(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        for name, sub in schema.get("properties", {}).items() if isinstance(schema.get("properties"), dict) else ():
            yield f"{path}/{name}", sub
        for name, sub in schema.items():
            yield from properties_in(sub, f"{path}/{name}")
    elif isinstance(schema, list):
        for number, sub in enumerate(schema):
            yield from properties_in(sub, f"{path}/{number}")


def test_the_schema_is_valid_draft_2020_12() -> None:
    jsonschema.Draft202012Validator.check_schema(read_schema("inventory"))


def test_every_property_has_a_description() -> None:
    assert [path for path, sub in properties_in(read_schema("inventory")) if not sub.get("description")] == []


def test_every_mapping_says_what_else_it_may_hold() -> None:
    schema = read_schema("inventory")
    mappings = [sub for sub in [schema, *schema["$defs"].values()] if sub.get("type") == "object"]
    assert [sub["description"] for sub in mappings if "additionalProperties" not in sub] == []


def test_every_reference_leads_somewhere_and_every_definition_is_used() -> None:
    schema = read_schema("inventory")
    used = set(re.findall(r"#/\$defs/([a-z_]+)", repr(schema)))
    assert used == set(schema["$defs"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_modeline_of_an_example_leads_to_the_schema(path: Path) -> None:
    found = MODELINE.match(path.read_text(encoding="utf-8"))
    assert found is not None
    assert (path.parent / found[1]).resolve() == (ROOT / "schemas" / "inventory.schema.json").resolve()


def test_every_key_of_the_schema_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "inventory.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z0-9_]+)`", page))
    keys = {path.rsplit("/", 1)[1] for path, _ in properties_in(read_schema("inventory"))}
    assert keys - named == set()
