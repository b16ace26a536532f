"""Failover over separate stores keeps the service up, and what was stored meanwhile apart."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.validate.context import Context, warning

CODES = ("virtual-service-separate-stores",)
WAIVABLE = CODES


def check(context: Context) -> Iterator[Problem]:
    """Each such service whose entity stores."""
    for service in context.inventory.virtual_services:
        entity = context.inventory.find_entity(service.entity)
        if entity is None or service.mode != "failover" or len(entity.instances) < 2 or service.shared_storage_reason:
            continue
        if "storage" in entity.provides:
            text = (
                f"{service.name} fails over between separate stores of {entity.name} ({entity.location}); after a"
                " failover older studies are not found, and after the way back the newer ones are not; copy between"
                " them, or say `shared_storage: {reason}` where they are one store"
            )
            about = (entity.ae_title, service.name)
            yield warning(CODES[0], text, service.at("entity"), entity.location, about=about)
