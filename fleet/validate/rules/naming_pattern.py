"""The pattern of new titles has only fields that there are."""

import string
from collections.abc import Iterator

from fleet.errors import Location, Problem
from fleet.inventory.model import Inventory
from fleet.validate.context import Context, error
from fleet.validate.inherited import find_fleet

CODES = ("naming-pattern",)
WAIVABLE = ()

FIELDS = ("site", "kind", "modality", "code", "number")


def check(context: Context) -> Iterator[Problem]:
    """The pattern, and the codes that stand in it."""
    naming = context.inventory.naming
    if naming is None:
        return
    labels = _labels(context.inventory)
    yield from _judge(naming.pattern, labels, find_fleet(context, "naming", "pattern"), code=True)
    for kind, code in naming.codes.items():
        at = find_fleet(context, "naming", "codes", kind)
        yield from _judge(code, labels, at, code=False)


def _labels(inventory: Inventory) -> set[str]:
    found: set[str] = set()
    for site in inventory.sites.values():
        found.update(site.labels)
    for entity in inventory.entities:
        found.update(entity.labels)
    return found


def _judge(pattern: str, labels: set[str], at: Location, *, code: bool) -> Iterator[Problem]:
    after = "`fleet title` could propose nothing"
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None]
    except ValueError as wrong:
        yield error(
            CODES[0],
            f"the pattern {pattern!r} cannot be read ({wrong}); {after}; correct its braces",
            at,
            about=(pattern,),
        )
        return
    for field in dict.fromkeys(fields):
        known = field in FIELDS and (code or field != "code")
        if not known and not (field.startswith("label.") and field.removeprefix("label.") in labels):
            what = "a label that nothing has" if field.startswith("label.") else "no field"
            text = f"{{{field}}} in {pattern!r} is {what}; {after}; there are {', '.join(FIELDS)} and label.KEY"
            yield error(CODES[0], text, at, about=(field,))
