"""A flow leads to who provides the service, and to somebody else than its source."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Entity
from fleet.inventory.peers import ResolvedFlow
from fleet.validate.context import Context, error, few

CODES = ("flow-service-not-provided", "flow-without-pair")
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """One problem a flow and service, naming who does not provide it."""
    for resolved in context.peers.flows:
        reached = _reached(resolved)
        if not reached:
            flow = resolved.flow
            text = (
                f"the flow from {flow.source!r} to {flow.destination!r} joins nobody with anybody else"
                f"{' of the same site' if flow.within_site else ''}; it permits nothing; correct a side, or remove it"
            )
            if not flow.within_site:  # a site's lone source has a rule of its own
                yield error("flow-without-pair", text, flow.at("to"), about=(flow.source, flow.destination))
            continue
        for index, service in enumerate(resolved.flow.services):
            lacking = [entity for entity in reached if service not in entity.provides]
            if lacking:
                yield _problem(resolved, index, service, lacking)


def _reached(resolved: ResolvedFlow) -> list[Entity]:
    """Destinations that have a source other than themselves."""
    by_site: dict[str, set[int]] = {}
    every = {id(source) for source in resolved.sources}
    for source in resolved.sources:
        by_site.setdefault(source.site, set()).add(id(source))
    found = []
    for destination in resolved.destinations:
        sources = by_site.get(destination.site, set()) if resolved.flow.within_site else every
        if len(sources) > (id(destination) in sources):
            found.append(destination)
    return found


def _problem(resolved: ResolvedFlow, index: int, service: str, lacking: list[Entity]) -> Problem:
    silent = [entity.name for entity in lacking if not entity.listens]
    names = [entity.name for entity in lacking]
    why = f" ({few(silent)} does not listen at all)" if silent else ""
    cure = f"add {service} to its `provides`, or narrow the flow"
    if len(silent) == len(names):
        cure = "narrow the flow, or let it listen: remove `listens: false` and give it a port"
    elif silent:
        cure = f"add {service} to the `provides` of those that listen, or narrow the flow"
    text = (
        f"this flow asks {service} of {few(names)}, which does not provide it{why} ({lacking[0].location}); every"
        f" request would be refused there, and nobody is called; {cure}"
    )
    also = tuple(entity.location for entity in lacking[:10])
    about = tuple(entity.ae_title for entity in lacking)
    return error("flow-service-not-provided", text, resolved.flow.at("services", index), *also, about=about)
