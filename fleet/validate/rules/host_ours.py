"""A host is ours, stands at a site of ours, and is retired only when nothing runs on it."""

from collections.abc import Iterator

from fleet.errors import Location, Problem
from fleet.inventory.model import Entity, Host
from fleet.validate.context import Context, error
from fleet.validate.inherited import each_verify, find_setting

CODES = ("external-site-with-host", "host-retired-in-use")
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Hosts at external sites, and what still needs a retired one."""
    inventory = context.inventory
    for host in inventory.hosts.values():
        if inventory.is_external(host.site):
            site = inventory.sites[host.site].location
            text = (
                f"the host {host.name} stands at {host.site}, an external site ({site}); fleet would log in to another"
                " house's machine and write there; move it to a site of ours, or drop `external`"
            )
            yield error("external-site-with-host", text, host.location, site, about=(host.name,))
    for entity in inventory.entities:
        if entity.instances and inventory.is_external(entity.site):
            site = inventory.sites[entity.site].location
            text = (
                f"{entity.name} has instances on hosts of ours and belongs to {entity.site}, an external site ({site});"
                " what we run is not theirs, and rules for leaving the house would be judged wrongly; move it, or give"
                " it an address"
            )
            yield error("external-site-with-host", text, entity.location, site, about=(entity.ae_title,))
    yield from _retired(context)


def _retired(context: Context) -> Iterator[Problem]:
    inventory = context.inventory
    retired = {name: host for name, host in inventory.hosts.items() if host.retired}
    if not retired:
        return
    for entity in inventory.entities:
        for instance in entity.instances:
            if instance.host in retired:
                yield _in_use(entity, "runs on", retired[instance.host], instance.at("host"))
    told: set[Location] = set()
    for entity, settings in each_verify(context):
        if settings.probe_from in retired:
            at = find_setting(context, entity, ("verify", "from"), settings.probe_from)
            if at not in told:
                told.add(at)
                yield _in_use(entity, "is probed from", retired[settings.probe_from], at)


def _in_use(entity: Entity, verb: str, host: Host, at: Location) -> Problem:
    there = host.at("retired")
    text = (
        f"{entity.name} {verb} {host.name}, which is retired ({there}); what runs there would be removed while others"
        " still count on it; move it to another host first"
    )
    return error("host-retired-in-use", text, at, there, about=(entity.ae_title, host.name))
