"""Probers' and health checks' titles are no entities: nobody else bears them."""

from collections.abc import Iterator

from fleet.dicom.ae_title import fold_ae_title
from fleet.errors import Location, Problem
from fleet.validate.context import Context, error

CODES = ("prober-title-borne",)
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Entities that bear such a title, case folded as archives fold it."""
    inventory = context.inventory
    askers: dict[str, tuple[str, str, Location]] = {}
    for prober in inventory.probers:
        askers.setdefault(fold_ae_title(prober.ae_title), ("a prober", prober.ae_title, prober.at("ae_title")))
    for service in inventory.virtual_services:
        calling = service.check.calling
        what = f"the health check of {service.name}"
        askers.setdefault(fold_ae_title(calling), (what, calling, service.at("check", "calling")))
    for entity in inventory.entities:
        for title, where in ((entity.ae_title, entity), *((further.ae_title, further) for further in entity.also)):
            found = askers.get(fold_ae_title(title))
            if found:
                what, asking, there = found
                text = (
                    f"{entity.name} bears {title!r}, the title under which {what} asks ({asking} at {there}); archives"
                    " would take the two for one machine and could send images to a checker; rename one of them"
                )
                yield error(CODES[0], text, where.at("ae_title"), there, about=(entity.ae_title, title))
