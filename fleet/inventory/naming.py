"""Proposals for new titles: a pattern over what an entity is, made concrete until a free title is found.

Titles in use are never judged by the pattern. A proposal keeps to the characters that every product can carry,
has at most 16 of them, and is nobody's: not a further title, not retired, not differing in case alone.
"""

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from fleet.dicom.ae_title import MAX_CHARACTERS, fold_ae_title, is_plain_ae_title
from fleet.errors import EmptySelection
from fleet.inventory.model import EMPTY, KINDS, Entity, Inventory
from fleet.inventory.select import Selectors

_FIELD = re.compile(r"\{([^{}]*)\}")
_LABEL = re.compile(r"label\.[A-Za-z][A-Za-z0-9_-]{0,62}\Z")
_NUMBER = re.compile(r"number(?::0?([1-9]))?\Z")
_MOST = 9_999  # numbers that are tried
_WORDS = ("site", "kind", "modality", "code")
_TERM = re.compile(r"(site|kind|modality|(?:label\.)?[A-Za-z][A-Za-z0-9_-]*)=([^\s,'*?\[]+)\Z")


@dataclass(frozen=True, slots=True)
class Example:
    """What a new entity will be, as far as its title depends on it."""

    site: str
    kind: str
    modality: str | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Proposal:
    """Free titles for one example; where they are fewer than asked for, `obstacle` says why."""

    example: Example
    titles: tuple[str, ...]
    obstacle: str = ""


def check_pattern(pattern: str, *, code: bool = False) -> str | None:
    """Why a pattern (or, with `code`, the code of a kind) cannot be used, in words; None where it can."""
    rest = _FIELD.sub("", pattern)
    if "{" in rest or "}" in rest:
        return f"the pattern {pattern!r} has an unpaired brace; fields are written {{site}} or {{number:02}}"
    for name in _FIELD.findall(pattern):
        known = name in _WORDS or _LABEL.match(name) or (_NUMBER.match(name) and not code)
        if not known or (code and name == "code"):
            words = "{site} {kind} {modality} {label.KEY}" + ("" if code else " {code} {number:02}")
            return f"the pattern {pattern!r} has the field {{{name}}}; it can have {words}"
    if rest and not re.fullmatch(r"[A-Za-z0-9_.-]+", rest):
        return f"the pattern {pattern!r} has characters that not every product can carry; use A-Z 0-9 _ . -"
    return None


def find_examples(inventory: Inventory, selectors: Selectors, text: str) -> tuple[Example, ...]:
    """What a selector means for a title that is still to be given.

    Entities that it selects are examples: one for each site, kind and modality among them. Where there are
    none yet, terms `site=… kind=… modality=…` say it outright. Raises `EmptySelection`.
    """
    try:
        found = selectors.entities(text)
    except EmptySelection:
        example = _parse_example(inventory, text)
        if example is None:
            raise
        return (example,)
    examples = {
        (entity.site, entity.kind, entity.modality): Example(
            entity.site, entity.kind, entity.modality, _shared_labels(inventory, entity)
        )
        for entity in reversed(found)
    }
    return tuple(examples[key] for key in sorted(examples, key=lambda key: (key[0], key[1], key[2] or "")))


def _shared_labels(inventory: Inventory, entity: Entity) -> Mapping[str, str]:
    """The labels of the example's site, over its own: a new neighbour surely has the former."""
    site = inventory.sites.get(entity.site)
    return {**entity.labels, **(site.labels if site else EMPTY)}


def _parse_example(inventory: Inventory, text: str) -> Example | None:
    """An example of terms alone; None where the selector says anything else, or no known site and kind."""
    terms: dict[str, str] = {}
    for word in text.split():
        found = _TERM.match(word)
        if found is None:
            return None
        terms[found[1].removeprefix("label.")] = found[2]
    site, kind, modality = (terms.pop(key, None) for key in ("site", "kind", "modality"))
    if site not in inventory.sites or kind not in KINDS or site is None or kind is None:
        return None
    return Example(site, kind, modality, {**inventory.sites[site].labels, **terms})


def propose_titles(inventory: Inventory, pattern: str, example: Example, on: datetime.date, count: int = 1) -> Proposal:
    """The first `count` free titles of the pattern, smallest number first; `on` is today, for retired titles."""
    reason = check_pattern(pattern)
    if reason is not None:
        return Proposal(example, (), reason)
    taken = _taken(inventory, on)
    found: list[str] = []
    refused = ""
    try:
        for title in _candidates(pattern, example, inventory.naming.codes if inventory.naming else EMPTY):
            reason = _obstacle(title, taken)
            if reason is None:
                found.append(title)
            else:
                refused = f": {title!r} {reason}"
            if len(found) == count or len(title) > MAX_CHARACTERS:
                break
    except LookupError as error:
        return Proposal(example, (), str(error.args[0]))
    if len(found) == count:
        return Proposal(example, tuple(found))
    text = f"the pattern {pattern!r} gives no further free title{refused}; widen its number, or shorten it"
    return Proposal(example, tuple(found), text)


def _obstacle(title: str, taken: Mapping[str, str]) -> str | None:
    if len(title) > MAX_CHARACTERS:
        return f"has {len(title)} characters; {MAX_CHARACTERS} is the most"
    if not is_plain_ae_title(title):
        return "has characters that not every product can carry"
    return taken.get(fold_ae_title(title))


def _taken(inventory: Inventory, on: datetime.date) -> dict[str, str]:
    """Folded titles that nobody may have, with why: archives in use fold case."""
    taken = {fold_ae_title(title): "is typed in an entity that is broken" for title in inventory.left_out}
    for retired in inventory.retired_titles:
        if on.isoformat() < retired.until:
            taken[fold_ae_title(retired.ae_title)] = f"is retired until {retired.until}"
    for service in inventory.virtual_services:
        taken[fold_ae_title(service.check.calling)] = f"is the health check of {service.name}"
    for prober in inventory.probers:
        taken[fold_ae_title(prober.ae_title)] = "is a prober's"
    for entity in inventory.entities:
        taken[fold_ae_title(entity.verify.calling)] = "is what probes call with"
    for entity in inventory.entities:
        for title in entity.titles:
            taken[fold_ae_title(title)] = f"is borne by {entity.name}"
    return taken


def _candidates(pattern: str, example: Example, codes: Mapping[str, str]) -> Iterator[str]:
    """Titles of a pattern in order; without a number there is one only. Raises `LookupError` in words."""
    parts = list(_expand(pattern, example, codes))
    widths = [width for text, width in parts if text is None]
    last = min((10**width - 1 if width else _MOST for width in widths), default=1)
    for number in range(1, min(last, _MOST) + 1):
        yield "".join(f"{number:0{width}d}" if text is None else text.upper() for text, width in parts)


def _expand(pattern: str, example: Example, codes: Mapping[str, str]) -> Iterator[tuple[str | None, int]]:
    """Fixed text, and None with its width where the number stands."""
    position = 0
    for found in _FIELD.finditer(pattern):
        yield pattern[position : found.start()], 0
        position = found.end()
        number = _NUMBER.match(found[1])
        if number:
            yield None, int(number[1] or 0)
        else:
            yield _value(found[1], example, codes), 0
    yield pattern[position:], 0


def _value(name: str, example: Example, codes: Mapping[str, str]) -> str:
    if name == "code":
        if example.kind not in codes:
            raise LookupError(f"naming.codes has none for the kind {example.kind}; add one")
        return "".join(text or "" for text, _ in _expand(codes[example.kind], example, {}))
    if name.startswith("label."):
        key = name.removeprefix("label.")
        if key not in example.labels:
            raise LookupError(f"the pattern wants the label {key!r}, which nothing of site {example.site} has")
        return example.labels[key]
    value: str | None = getattr(example, name)
    if value is None:
        raise LookupError(f"the pattern wants the {name}, which this {example.kind} has none of")
    return value
