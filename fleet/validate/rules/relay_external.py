"""What a relay sends to another house is encrypted and de-identified, or a team has said why not."""

from collections.abc import Iterator

from fleet.errors import Location, Problem
from fleet.inventory.model import Entity
from fleet.validate.context import Context, error
from fleet.validate.routes import hops

CODES = ("relay-external-plain", "relay-external-identified")
WAIVABLE = CODES


def check(context: Context) -> Iterator[Problem]:
    """Each destination at an external site, once a route."""
    told: set[tuple[Location, str]] = set()
    for hop in hops(context):
        entity = hop.entity
        if entity is None or not context.inventory.is_external(entity.site):
            continue
        at = hop.destination.at("ae_title")
        if (at, entity.name) in told:
            continue
        told.add((at, entity.name))
        if entity.tls is None:
            yield _problem("plain", hop.route.name, entity, at)
        if hop.route.deidentify is None:
            yield _problem("identified", hop.route.name, entity, at)


def _problem(what: str, route: str, entity: Entity, at: Location) -> Problem:
    if what == "plain":
        effect = "without TLS; anybody on the way could read and change the images"
        cure = "give that entity `tls: {port, verify: {ca, name}}`"
    else:
        effect = "without `deidentify`; patients' names would leave the house"
        cure = "give the route `deidentify: {profile: basic}`"
    text = (
        f"the route {route} leads to {entity.name} ({entity.location}) at the external site {entity.site} {effect};"
        f" {cure}, or waive it with a reason"
    )
    return error(f"relay-external-{what}", text, at, entity.location, about=(entity.ae_title, route))
