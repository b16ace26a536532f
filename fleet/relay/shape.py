"""The shape of a relay's file, checked without any library.

A check is a function of a value and its pointer that tells what is wrong; combinators make one of others. A test
holds the whole to the verdicts of `schemas/relay.schema.json`.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fleet.errors import did_you_mean

Check = Callable[[Any, str], Iterator[str]]


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)  # one of 400 digits is no float


def is_unicode(text: str) -> bool:
    """Whether it can be written anywhere: JSON also spells halves of surrogate pairs (RFC 8259 section 8.2)."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def find_halves(value: Any, at: str) -> Iterator[str]:
    """Every text of a document that holds half of a surrogate pair, which no file name and no queue takes."""
    if isinstance(value, str) and not is_unicode(value):
        yield f"{at}: {value!r:.60} holds half of a surrogate pair, which is no character"
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from find_halves(each, f"{at}/{index}")
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from find_halves(key, at)
            yield from find_halves(each, f"{at}/{key}")


def text(pattern: str | None = None, at_least: int = 0, at_most: int | None = None) -> Check:
    """Text; `pattern` has to match all of it."""
    compiled = None if pattern is None else re.compile(pattern, re.ASCII | re.DOTALL)

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield f"{at}: text is expected, not {value!r:.60}"
        elif len(value) < at_least or (at_most is not None and len(value) > at_most):
            yield f"{at}: {value!r:.60} is {len(value)} characters long"
        elif compiled is not None and not compiled.fullmatch(value):
            yield f"{at}: {value!r:.60} is not of the form {pattern}"

    return check


def one_of(*allowed: str) -> Check:
    """One of some words."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, str) or value not in allowed:
            yield f"{at}: {value!r:.60} is none of {', '.join(allowed)}"

    return check


def whole(at_least: int, at_most: int) -> Check:
    """A whole number; JSON does not tell 1 from 1.0."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not _is_number(value) or value != int(value) or not at_least <= value <= at_most:
            yield f"{at}: a whole number of {at_least} to {at_most} is expected, not {value!r:.60}"

    return check


def seconds() -> Check:
    """A number of seconds."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not _is_number(value) or value < 0:
            yield f"{at}: a number of seconds is expected, not {value!r:.60}"

    return check


def above(at_most: float) -> Check:
    """A number above nothing."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not _is_number(value) or not 0 < value <= at_most:
            yield f"{at}: a number above 0 and up to {at_most} is expected, not {value!r:.60}"

    return check


def truth() -> Check:
    """true or false."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, bool):
            yield f"{at}: true or false is expected, not {value!r:.60}"

    return check


def nullable(inner: Check) -> Check:
    """null, or what `inner` says."""

    def check(value: Any, at: str) -> Iterator[str]:
        if value is not None:
            yield from inner(value, at)

    return check


def many(inner: Check, at_least: int = 0, unique: bool = False) -> Check:
    """A list."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{at}: a list is expected, not {value!r:.60}"
            return
        if len(value) < at_least:
            yield f"{at}: at least {at_least} are needed"
        if unique and len({repr(each) for each in value}) != len(value):
            yield f"{at}: something stands there twice"
        for index, each in enumerate(value):
            yield from inner(each, f"{at}/{index}")

    return check


def mapping(key: Check, inner: Check) -> Check:
    """An object whose keys are free, within `key`."""

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{at}: an object is expected, not {value!r:.60}"
            return
        for name, each in value.items():
            yield from key(name, f"{at} (its key)")
            yield from inner(each, f"{at}/{name}")

    return check


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object whose keys are known; every other key is an error."""
    known = {**required, **(optional or {})}

    def check(value: Any, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{at}: an object is expected, not {value!r:.60}"
            return
        for name in value.keys() - known.keys():
            hint = did_you_mean(f"{name!s:.60}", known) or f"; this relay knows {', '.join(known)}"
            yield f"{at}/{name!s:.60}: unknown here{hint}"
        for name in required.keys() - value.keys():
            yield f"{at}/{name}: missing"
        for name in value.keys() & known.keys():
            yield from known[name](value[name], f"{at}/{name}")

    return check


def together(inner: Check, *names: str) -> Check:
    """An object that has all of some keys, or none of them."""

    def check(value: Any, at: str) -> Iterator[str]:
        yield from inner(value, at)
        if isinstance(value, dict) and 0 < sum(name in value for name in names) < len(names):
            yield f"{at}: {' and '.join(names)} belong together"

    return check


def any_of(*checks: Check) -> Check:
    """What one of some checks takes; no two of those used here take the same."""

    def check(value: Any, at: str) -> Iterator[str]:
        told = [list(each(value, at)) for each in checks]
        if all(told):
            yield min(told, key=len)[0]

    return check
