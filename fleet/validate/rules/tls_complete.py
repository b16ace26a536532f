"""TLS is verified or it is nothing: a CA to verify with, and a certificate where one is presented (PS3.15 B.12)."""

from collections.abc import Iterator

from fleet.errors import Location, Problem
from fleet.inventory.model import Entity
from fleet.validate.context import Context, error
from fleet.validate.inherited import find_setting

CODES = ("tls-without-verify", "certificate-incomplete")
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Entities with `tls`, each inherited setting once."""
    told: set[Location] = set()
    for entity in context.inventory.entities:
        tls = entity.tls
        if tls is None:
            continue
        if tls.verify_ca is None:
            at = entity.at("tls")
            text = (
                f"{entity.name} has `tls` without `verify: {{ca, name}}`; any certificate would do, so anybody could"
                " stand in for it, and fleet never connects like that; add it"
            )
            yield error("tls-without-verify", text, at, about=(entity.ae_title,))
        yield from _incomplete(context, entity, ("verify", "ca"), tls.verify_ca, told)
        yield from _incomplete(context, entity, ("present",), tls.present, told)


def _incomplete(
    context: Context, entity: Entity, steps: tuple[str, ...], name: str | None, told: set[Location]
) -> Iterator[Problem]:
    certificate = context.inventory.certificates.get(name or "")
    if certificate is None:
        return
    key, file = ("ca_file", certificate.ca_file) if "ca" in steps else ("cert_file", certificate.cert_file)
    at = find_setting(context, entity, ("tls", *steps), name)
    if file is None and at not in told:
        told.add(at)
        text = (
            f"tls.{'.'.join(steps)} of {entity.name} names {certificate.name} ({certificate.location}), which has no"
            f" `{key}`; the connection could not be made; add it there"
        )
        about = (entity.ae_title, certificate.name)
        yield error("certificate-incomplete", text, at, certificate.location, about=about)
