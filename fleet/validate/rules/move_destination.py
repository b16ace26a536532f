"""Who queries an archive is who it moves images to: it listens, and has an address."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Entity
from fleet.validate.context import Context, error

CODES = ("move-destination-unreachable",)
WAIVABLE = CODES  # a viewer that only ever uses C-GET


def check(context: Context) -> Iterator[Problem]:
    """Each requestor of query-retrieve once, with the first archive that it asks."""
    told: set[str] = set()
    for resolved in context.peers.flows:
        if "query-retrieve" not in resolved.flow.services:
            continue
        for source in resolved.sources:
            if source.name in told:
                continue
            reason = _reason(source)
            archive = next(resolved.destinations_for(source), None) if reason else None
            if archive:
                told.add(source.name)
                text = (
                    f"{source.name} queries {archive.name} ({archive.location}) and so is a destination of its C-MOVE,"
                    f" but {reason}; its users would find studies and never get the images; give it an address, a port"
                    " and storage, or drop query-retrieve from the flow"
                )
                about = (source.ae_title, archive.ae_title)
                yield error(CODES[0], text, source.location, archive.location, about=about)


def _reason(source: Entity) -> str | None:
    """Why images cannot be moved to it, in words."""
    if not source.listens and not any(further.listens and further.port for further in source.also):
        return "it does not listen"
    if not source.instances and (source.address is None or source.address == "dhcp"):
        return f"it has no address that stays ({source.address or 'none'})"
    if source.listens and "storage" not in source.provides:
        return "it does not provide storage"
    return None
