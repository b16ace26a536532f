"""TLS is verified or it is nothing: a CA to verify with, and a certificate where one is presented (PS3.15 B.12)."""

from collections.abc import Iterator

from fleet.errors import Location, Problem
from fleet.inventory.model import Certificate, Entity
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
        yield from _incomplete(context, entity, ("tls", "verify", "ca"), tls.verify_ca, told)
        yield from _incomplete(context, entity, ("tls", "present"), tls.present, told)
    for entity in context.inventory.entities:
        serving = entity.run.settings.get("tls") if entity.run else None
        if serving is not None:
            yield from _incomplete(context, entity, ("run", "tls", "certificate"), serving["certificate"], told)
            yield from _incomplete(context, entity, ("run", "tls", "callers_ca"), serving.get("callers_ca"), told)


def _incomplete(
    context: Context, entity: Entity, steps: tuple[str, ...], name: str | None, told: set[Location]
) -> Iterator[Problem]:
    certificate = context.inventory.certificates.get(name or "")
    if certificate is None:
        return
    at = find_setting(context, entity, steps, name)
    lacks = _lacks(certificate, of_authority=steps[-1] in {"ca", "callers_ca"})
    if lacks and at not in told:
        told.add(at)
        text = (
            f"{'.'.join(steps)} of {entity.name} names {certificate.name} ({certificate.location}), which has no"
            f" {' and no '.join(f'`{key}`' for key in lacks)}; the connection could not be made; add it there"
        )
        about = (entity.ae_title, certificate.name)
        yield error("certificate-incomplete", text, at, certificate.location, about=about)


def _lacks(certificate: Certificate, *, of_authority: bool) -> list[str]:
    if of_authority:
        return [] if certificate.ca_file is not None else ["ca_file"]
    lacks = [] if certificate.cert_file is not None else ["cert_file"]
    return lacks if certificate.key is not None or certificate.key_file is not None else [*lacks, "key"]
