"""`within: site` pairs sources and destinations of one site: a site with a source and no destination is left alone."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.peers import ResolvedFlow
from fleet.validate.context import Context, error

CODES = ("flow-site-without-destination",)
WAIVABLE = ()  # `except` is the way out


def check(context: Context) -> Iterator[Problem]:
    """Each such site that `except` does not name."""
    for resolved in context.peers.flows:
        if resolved.flow.within_site and not context.inventory.incomplete:
            yield from _lonely(resolved)


def _lonely(resolved: ResolvedFlow) -> Iterator[Problem]:
    flow = resolved.flow
    destinations: dict[str, set[int]] = {}
    for destination in resolved.destinations:
        destinations.setdefault(destination.site, set()).add(id(destination))
    told = set(flow.except_sites)
    for source in resolved.sources:
        here = destinations.get(source.site, set())
        if source.site in told or len(here) > (id(source) in here):
            continue
        told.add(source.site)
        text = (
            f"at the site {source.site} {source.name} ({source.location}) is a source of this flow, and nobody there is"
            f" {flow.destination!r}; it would find nobody to talk to, and its images stay on it; add a destination, or"
            f" list {source.site} under `except`"
        )
        yield error(CODES[0], text, flow.at("to"), source.location, about=(source.ae_title,))
