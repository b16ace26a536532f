"""Where a `!vault` value may stand, and how a document that holds some is shown to the schema.

The schema judges shapes, so it is given a copy with a harmless text in the place of each secret; the copy's
mappings know where they were typed, so that problems keep their places.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from fleet.documents.strict_yaml import VAULT_PLACES, VAULT_TAG
from fleet.documents.values import Document, Position
from fleet.errors import Problem, Severity
from fleet.secrets.secret import Secret

MISPLACED: Final = "secret-misplaced"
STAND_IN: Final = "secret"  # fits wherever a secret may stand, `auth_pass` included

Pointer = tuple[str | int, ...]
_ANY: Final = None
_BELOW: Final[tuple[tuple[str | None, ...], ...]] = (
    ("vars",),
    ("fleet", "vars"),
    ("fleet", "defaults", "kinds", _ANY, "vars"),
    ("hosts", _ANY, "vars"),
    ("entities", _ANY, "vars"),
)
_EXACTLY: Final[tuple[tuple[str | None, ...], ...]] = (
    ("virtual_services", _ANY, "vrrp", "auth_pass"),
    ("certificates", _ANY, "key"),
)


def find_secrets(value: Any, pointer: Pointer = ()) -> Iterator[tuple[Pointer, Secret]]:
    """Every secret of a document with its place."""
    if isinstance(value, Secret):
        yield pointer, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from find_secrets(item, (*pointer, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from find_secrets(item, (*pointer, index))


def may_be_secret(pointer: Pointer) -> bool:
    """Whether a secret may stand there."""
    return any(len(pointer) > len(place) and _fits(pointer, place) for place in _BELOW) or any(
        len(pointer) == len(place) and _fits(pointer, place) for place in _EXACTLY
    )


def _fits(pointer: Pointer, place: tuple[str | None, ...]) -> bool:
    return all(wanted in {_ANY, step} for step, wanted in zip(pointer, place, strict=False))


def check_places(document: Document) -> Iterator[tuple[Pointer, Problem]]:
    """Secrets that stand where nobody would keep them secret."""
    for pointer, secret in find_secrets(document.value):
        if not may_be_secret(pointer):
            at = document.locate(pointer)
            text = (
                f"a {VAULT_TAG} value cannot stand here, where it would be shown or compared in clear: {VAULT_PLACES};"
                " type the value itself"
            )
            yield pointer, Problem(MISPLACED, Severity.ERROR, text, replace(secret.location, pointer=at.pointer))


def without_secrets(document: Document) -> Document:
    """The document as the schema may see it."""
    positions: dict[int, Any] = {}
    value = _copy(document, document.value, positions)
    return Document(document.path, value, positions)


def _copy(document: Document, value: Any, positions: dict[int, Any]) -> Any:
    if isinstance(value, Secret):
        return STAND_IN
    if not isinstance(value, dict | list):
        return value
    made: Any
    if isinstance(value, dict):
        made = {key: _copy(document, item, positions) for key, item in value.items()}
    else:
        made = [_copy(document, item, positions) for item in value]
    places: dict[Any, Position] = dict(document.positions.get(id(value), {}))
    positions[id(made)] = places
    return made
