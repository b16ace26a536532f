"""A virtual service stands before instances of its entity, and its mode suits what they keep."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Entity, VirtualService
from fleet.validate.context import Context, error

CODES = ("virtual-service-members", "virtual-service-balance")
WAIVABLE = ()  # `shared_storage` is the way out of the second


def check(context: Context) -> Iterator[Problem]:
    """Each virtual service with its entity."""
    for service in context.inventory.virtual_services:
        entity = context.inventory.find_entity(service.entity)
        if entity:
            yield from _members(context, service, entity)
            yield from _balance(service, entity)


def _members(context: Context, service: VirtualService, entity: Entity) -> Iterator[Problem]:
    about = (entity.ae_title, service.name)
    if not entity.instances and service.via != "external":
        text = (
            f"{service.name} stands before {entity.name} ({entity.location}), which has no instances on hosts of ours;"
            " there is nowhere to put it and nobody behind it; give the entity `instances`"
        )
        yield error("virtual-service-members", text, service.at("entity"), entity.location, about=about)
    if not entity.listens:
        text = (
            f"{service.name} stands before {entity.name} ({entity.location}), which does not listen; every call would"
            " be refused; remove one of the two"
        )
        yield error("virtual-service-members", text, service.at("entity"), entity.location, about=about)
    members = {instance.host for instance in entity.instances}
    if not members <= context.inventory.hosts.keys():
        return  # a host's name is mistaken, and told: a priority may be for the very one that was meant
    for host in service.vrrp.priority if service.vrrp else ():
        if host not in members:
            text = (
                f"{service.name} gives a priority to {host}, which is no instance of {entity.name} ({entity.location});"
                " the address could move to a host where nothing answers; name the hosts of its instances only"
            )
            at = service.at("vrrp", "priority", host)
            yield error("virtual-service-members", text, at, entity.location, about=(*about, host))


def _balance(service: VirtualService, entity: Entity) -> Iterator[Problem]:
    kept = [each for each in ("storage", "query-retrieve") if each in entity.provides]
    if service.mode == "balance" and kept and not service.shared_storage_reason and len(entity.instances) > 1:
        text = (
            f"{service.name} balances {' and '.join(kept)} of {entity.name} ({entity.location}) over"
            f" {len(entity.instances)} stores; a study would be split, and each half be missed by whoever asks the"
            f" other; use `mode: failover`, or say `shared_storage: {{reason}}` where they are one store"
        )
        about = (entity.ae_title, service.name)
        yield error("virtual-service-balance", text, service.at("mode"), entity.location, about=about)
