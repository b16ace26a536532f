"""Elements that a relay's routes name are elements of PS3.6: a misspelt one matches, hides or removes nothing."""

import difflib
from collections.abc import Iterator
from typing import Any

from fleet.dicom.keywords import find_tag, read_keywords
from fleet.errors import Location, Problem
from fleet.inventory.model import Route
from fleet.targets.relay import find_keywords
from fleet.validate.context import Context, error

CODES = ("relay-keyword-unknown",)
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Every keyword of every route."""
    for relay in context.inventory.relays:
        for route in relay.routes:
            for keyword, what, at, effect in _named(route):
                if find_tag(keyword) is None:
                    text = (
                        f"{what} of the route {route.name} names {keyword!r}, which is no keyword of PS3.6; {effect};"
                        f" {_hint(keyword)}"
                    )
                    yield error(CODES[0], text, at, about=(relay.entity, route.name))


def _named(route: Route) -> Iterator[tuple[str, str, Location, str]]:
    """Each keyword with the words for its place, the place, and what comes of a wrong one."""
    for key in ("elements", "study_has"):
        for keyword in route.when.get(key, ()):
            at = _at_key(route, "when", key, keyword)
            yield keyword, f"`when.{key}`", at, "nothing would ever match, and the route would get nothing"
    for index, keyword in enumerate(route.require):
        at = _at_key(route, "require", keyword) if isinstance(route.require, dict) else route.at("require", index)
        yield keyword, "`require`", at, "no instance has it, and everything would go to quarantine"
    deidentify: Any = route.deidentify or {}
    for index, keyword in enumerate(deidentify.get("pseudonyms", ())):
        at = route.at("deidentify", "pseudonyms", index)
        yield keyword, "`pseudonyms`", at, "the element that was meant would get no pseudonym"
    yield from _edited(route)


def _edited(route: Route) -> Iterator[tuple[str, str, Location, str]]:
    for index, edit in enumerate(route.edit):
        for key in ("set", "remove", "copy", "to"):
            if key in edit:
                effect = "the element that was meant would pass as it came"
                yield edit[key], f"`edit` ({key})", route.at("edit", index, key), effect
        for keyword in find_keywords(str(edit.get("value", ""))):
            at = route.at("edit", index, "value")
            yield keyword, "`edit` (value)", at, "no instance has it, and no instance could be edited"


def _at_key(route: Route, *steps: str) -> Location:
    """Where the last step was typed as a key."""
    origin = route.origin
    return origin.document.locate((*origin.steps, *steps), key=True) if origin.document else Location("")


def _hint(keyword: str) -> str:
    close = difflib.get_close_matches(keyword, read_keywords(), n=1)
    return f"did you mean {close[0]}?" if close else "look it up in PS3.6 and correct it"
