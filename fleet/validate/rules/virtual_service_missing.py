"""Several instances that others call have one address in front of them; a peer's table has room for one."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.validate.context import Context, error

CODES = ("instances-without-virtual-service",)
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Each destination of a flow with several instances and no virtual service."""
    if context.inventory.incomplete:
        return  # the virtual service may be among what was left out
    if any(context.inventory.find_entity(each.entity) is None for each in context.inventory.virtual_services):
        return  # a service stands before a name that nobody bears, which is told: it may be meant for this one
    served = context.inventory.services_by_entity
    told: set[str] = set()
    for resolved in context.peers.flows:
        for entity in resolved.destinations:
            if len(entity.instances) < 2 or entity.ae_title in served or entity.name in told:
                continue
            if next(resolved.sources_for(entity), None) is not None:
                told.add(entity.name)
                text = (
                    f"{entity.name} has {len(entity.instances)} instances and this flow calls it"
                    f" ({resolved.flow.location}), but no virtual service gives it one address; its callers would be"
                    " told the first instance only and stand still when that one does; add it to `virtual_services`"
                )
                at = entity.at("instances")
                yield error(CODES[0], text, at, resolved.flow.location, about=(entity.ae_title,))
