"""A relay that is known by a name shows a certificate that bears it (RFC 6125, PS3.15 B.12).

Both stand in the inventory, so the slip is found before the first handshake. What a box shows is not known here.
"""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Certificate, Entity
from fleet.secrets.credentials import CertificateFacts, CredentialError, parse_certificates
from fleet.validate.context import Context, error
from fleet.validate.inherited import find_setting

CODES = ("certificate-name-foreign",)
WAIVABLE = ()


def check(context: Context) -> Iterator[Problem]:
    """Entities that we serve by TLS and verify by a name."""
    for entity in context.inventory.entities:
        shown = _shown(context, entity)
        name = entity.tls.verify_name if entity.tls else None
        if shown is None or name is None:
            continue
        facts = _facts(shown)
        if facts is not None and not facts.bears(name):
            yield _foreign(context, entity, name, shown, facts)


def _shown(context: Context, entity: Entity) -> Certificate | None:
    """What callers of the entity are shown, where we put it there."""
    serving = entity.run.settings.get("tls") if entity.run else None
    return context.inventory.certificates.get(serving["certificate"]) if serving else None


def _facts(shown: Certificate) -> CertificateFacts | None:
    """The first is its own, what follows are its authorities; one that cannot be read is told elsewhere."""
    try:
        return parse_certificates(shown.cert_pem)[0] if shown.cert_pem is not None else None
    except CredentialError:
        return None


def _foreign(context: Context, entity: Entity, name: str, shown: Certificate, facts: CertificateFacts) -> Problem:
    borne = f"is for {' and '.join(facts.names)}" if facts.names else "names no host at all"
    text = (
        f"tls.verify.name of {entity.name} is {name}, and the certificate {shown.name} ({shown.location}) that it shows"
        f" {borne}; everybody who verifies it, fleet too, would refuse the connection; type a name that it bears, or"
        " have it issued for this one"
    )
    at = find_setting(context, entity, ("tls", "verify", "name"), name)
    return error("certificate-name-foreign", text, at, shown.location, about=(entity.ae_title, shown.name))
