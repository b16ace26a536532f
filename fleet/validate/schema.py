"""Is a document true to its shape: JSON Schema, draft 2020-12.

A compiled validator accepts (10,000 entities in milliseconds); only what it rejects is walked again by
`explaining`, which loads jsonschema for it. A property test holds the two equal.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from fleet.documents.packaged import read_schema
from fleet.documents.values import Document
from fleet.errors import Problem
from fleet.inventory.typed import Pointer
from fleet.validate.accepting import accepts
from fleet.validate.secret_places import check_places, without_secrets


@cache
def text_keys(name: str) -> frozenset[str]:
    """Keys below which the schema `name` knows only text; the reader keeps there what was typed (T07)."""
    schema = read_schema(name)
    kinds: dict[str, bool] = {}
    for key, sub in _properties(schema):
        kinds[key] = kinds.get(key, True) and _is_text(sub, schema)
    return frozenset(key for key, textual in kinds.items() if textual)


def _properties(schema: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties.items()
        for value in schema.values():
            yield from _properties(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _properties(value)


def _is_text(sub: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    if "$ref" in sub:
        return _is_text(root["$defs"][sub["$ref"].rsplit("/", 1)[1]], root)
    kinds = sub.get("type")
    if kinds == "array":
        return _is_text(sub.get("items", {}), root)
    return kinds in ("string", ["string", "array"])


def check_document(document: Document, name: str) -> tuple[list[Problem], frozenset[Pointer]]:
    """What the schema `name` says against a document, and the pointers of the values that are broken."""
    if document.holds_secrets:
        return _check_with_secrets(document, name)
    return _check_plain(document, name)


def _check_plain(document: Document, name: str) -> tuple[list[Problem], frozenset[Pointer]]:
    if accepts(document.value, name):
        return [], frozenset()
    from fleet.validate.explaining import explain_document  # loads jsonschema: only what is rejected pays

    return explain_document(document, name)


def _check_with_secrets(document: Document, name: str) -> tuple[list[Problem], frozenset[Pointer]]:
    """A secret in a wrong place is told once, and what the schema says of that place is not told too."""
    misplaced = dict(check_places(document))
    found, spoiled = _check_plain(without_secrets(document), name)
    told = frozenset(problem.location.pointer for problem in misplaced.values())
    kept = [problem for problem in found if problem.location.pointer not in told]
    return [*misplaced.values(), *kept], spoiled | frozenset(misplaced)
