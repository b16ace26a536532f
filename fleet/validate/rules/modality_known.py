"""A modality that PS3.3 does not define is legal and mostly a slip: a route for CTT gets nothing."""

import difflib
import fnmatch
from collections.abc import Iterator

from fleet.dicom.modality import MODALITIES, RETIRED_MODALITIES
from fleet.errors import Problem
from fleet.validate.context import Context, warning

CODES = ("modality-unknown",)
WAIVABLE = CODES


def check(context: Context) -> Iterator[Problem]:
    """Modalities of entities, and patterns of routes that are like none of those that are known."""
    bearing = {entity.modality for entity in context.inventory.entities if entity.modality}
    for entity in context.inventory.entities:
        if entity.modality and not _is_known(entity.modality):
            text = (
                f"the modality {entity.modality!r} of {entity.name} is none that PS3.3 C.7.3.1.1.1 defines; what"
                f" selects by modality would pass it over; {_hint(entity.modality)}"
            )
            yield warning(CODES[0], text, entity.at("modality"), about=(entity.ae_title, entity.name))
    for relay in context.inventory.relays:
        for route in relay.routes:
            typed = route.when.get("modality", ())
            single = isinstance(typed, str)
            for index, pattern in enumerate([typed] if single else typed):
                if pattern not in bearing and not _is_known(pattern):
                    text = (
                        f"`when.modality` of the route {route.name} is {pattern!r}, like no modality that PS3.3"
                        f" C.7.3.1.1.1 defines; the route may never get anything by it; {_hint(pattern)}"
                    )
                    at = route.at("when", "modality") if single else route.at("when", "modality", index)
                    yield warning(CODES[0], text, at, about=(relay.entity, route.name))


def _is_known(pattern: str) -> bool:
    known = MODALITIES | RETIRED_MODALITIES
    if pattern in known:
        return True
    # `[` stands for itself in a route's pattern; only * and ? stand for others.
    shape = pattern.replace("[", "[[]")
    return any(sign in pattern for sign in "*?") and any(fnmatch.fnmatchcase(each, shape) for each in known)


def _hint(text: str) -> str:
    close = difflib.get_close_matches(text.upper(), sorted(MODALITIES), n=1)
    meant = f"did you mean {close[0]}? If not" if close else "if it is meant"
    return f"{meant}, waive it with a reason"
