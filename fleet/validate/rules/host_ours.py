"""A host is ours, stands at a site of ours, and is retired only when nothing runs on it."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.validate.context import Context, error

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
        uses = [(instance.host, instance.at("host"), "runs on") for instance in entity.instances]
        if entity.verify.probe_from:
            uses.append((entity.verify.probe_from, entity.at("verify", "from"), "is probed from"))
        for name, at, verb in uses:
            if name in retired:
                host = retired[name]
                text = (
                    f"{entity.name} {verb} {name}, which is retired ({host.at('retired')}); its service would be"
                    " removed there while others still call it; move it to another host first"
                )
                yield error("host-retired-in-use", text, at, host.at("retired"), about=(entity.ae_title, name))
