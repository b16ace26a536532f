"""Every title that is typed anywhere is legal (PS3.5 6.2, VR AE; PS3.8 9.3.2)."""

from collections.abc import Iterator

from fleet.dicom.ae_title import check_ae_title
from fleet.errors import Problem
from fleet.inventory.model import Placed
from fleet.validate.context import Context, error, show_text
from fleet.validate.inherited import each_verify, find_setting

CODES = ("ae-title-illegal",)
WAIVABLE = ()

_EFFECT = "no association can carry it"
_EFFECT_OF_CONTROL = f"{_EFFECT}, and in a product's file it could end a line and begin another"
_NEXT = "type 1 to 16 printable ASCII characters without a backslash"


def check(context: Context) -> Iterator[Problem]:
    """Titles of entities, probers, health checks and retired titles; then who the sweep says it is."""
    inventory = context.inventory
    for entity in inventory.entities:
        yield from _judge(entity.ae_title, entity, "ae_title")
        for further in entity.also:
            yield from _judge(further.ae_title, further, "ae_title")
    for prober in inventory.probers:
        yield from _judge(prober.ae_title, prober, "ae_title")
    for retired in inventory.retired_titles:
        yield from _judge(retired.ae_title, retired, "ae_title")
    for service in inventory.virtual_services:
        yield from _judge(service.check.calling, service.check, "calling")
    yield from _callers(context)


def _judge(title: str, where: Placed, key: str) -> Iterator[Problem]:
    reason = check_ae_title(title)
    if reason:
        yield error("ae-title-illegal", _tell(title, reason), where.at(key), about=(title,))


def _tell(title: str, reason: str) -> str:
    effect = _EFFECT if title.isprintable() else _EFFECT_OF_CONTROL
    return f"the AE title {show_text(title)} {reason}; {effect}; {_NEXT}"


def _callers(context: Context) -> Iterator[Problem]:
    told: set[str] = set()
    for entity, settings in each_verify(context):
        calling = settings.calling
        if calling in told:
            continue
        told.add(calling)
        reason = check_ae_title(calling)
        if reason:
            at = find_setting(context, entity, ("verify", "calling"), calling)
            yield error("ae-title-illegal", _tell(calling, reason), at, about=(calling,))
