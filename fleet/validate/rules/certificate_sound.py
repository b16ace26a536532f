"""Certificates and keys as far as they can be judged before anybody meets them (RFC 5280, PS3.15 B.12).

A key that was not opened is not judged. Dates are those of the day on which the inventory is judged, so `plan` and
`verify`, which validate first, both see an end coming.
"""

from collections.abc import Iterator
from datetime import timedelta

from fleet.errors import Problem
from fleet.inventory.model import Certificate
from fleet.secrets.credentials import CertificateFacts, CredentialError, parse_certificates, parse_key
from fleet.validate.context import Context, error, warning

CODES = (
    "certificate-unreadable",
    "certificate-key-unreadable",
    "certificate-key-foreign",
    "certificate-key-shared",
    "certificate-expired",
    "certificate-expires-soon",
    "certificate-not-yet-valid",
    "certificate-not-ca",
)
WAIVABLE = (
    "certificate-key-shared",
    "certificate-expired",
    "certificate-expires-soon",
    "certificate-not-yet-valid",
)
SOON_DAYS = 30


def check(context: Context) -> Iterator[Problem]:
    """Each entry of `certificates`."""
    for entry in context.inventory.certificates.values():
        authorities, own = _facts(entry.ca_pem), _facts(entry.cert_pem)
        for key, facts in (("ca_file", authorities), ("cert_file", own)):
            if isinstance(facts, CredentialError):
                yield _unreadable(entry, key, facts)
            else:
                yield from _dates(context, entry, key, facts)
        yield from _begins_later(context, entry, authorities, own)
        if not isinstance(authorities, CredentialError):
            yield from _authority(entry, authorities)
        yield from _key(entry, None if isinstance(own, CredentialError) else own[:1])


def _facts(pem: str | None) -> tuple[CertificateFacts, ...] | CredentialError:
    """What a file says; nothing where there is none, which is told elsewhere."""
    try:
        return () if pem is None else parse_certificates(pem)
    except CredentialError as wrong:
        return wrong


def _unreadable(entry: Certificate, key: str, wrong: CredentialError) -> Problem:
    text = (
        f"{key} of {entry.name} {wrong}; no connection that needs it could be made; put the PEM file there that your CA"
        " gave you"
    )
    return error("certificate-unreadable", text, entry.at(key), about=(entry.name,))


def _authority(entry: Certificate, facts: tuple[CertificateFacts, ...]) -> Iterator[Problem]:
    for each in facts:
        if not (each.is_authority or each.signed_itself):
            text = (
                f"ca_file of {entry.name} holds {each.subject}, which is no CA (basicConstraints) and did not sign"
                " itself; nothing can be verified with it; put the certificate of the CA that issued it there"
            )
            yield error("certificate-not-ca", text, entry.at("ca_file"), about=(entry.name,))


def _dates(context: Context, entry: Certificate, key: str, facts: tuple[CertificateFacts, ...]) -> Iterator[Problem]:
    for each in facts:
        what, at, about = f"{key} of {entry.name} ({each.subject})", entry.at(key), (entry.name,)
        if each.ends_on < context.today:
            text = (
                f"{what} ended on {each.ends_on}; every connection that needs it is refused; renew it, or waive this"
                " until it is renewed"
            )
            yield error("certificate-expired", text, at, about=about)
        elif each.ends_on <= context.today + timedelta(days=SOON_DAYS):
            days = (each.ends_on - context.today).days
            text = (
                f"{what} ends on {each.ends_on}, {'today' if not days else f'in {days} days'}; from then on every"
                " connection that needs it is refused; renew it"
            )
            yield warning("certificate-expires-soon", text, at, about=about)


def _begins_later(
    context: Context, entry: Certificate, *files: tuple[CertificateFacts, ...] | CredentialError
) -> Iterator[Problem]:
    """A new CA may lie beside the old one before its time; a file of which nothing is valid yet serves nobody."""
    for key, facts in zip(("ca_file", "cert_file"), files, strict=True):
        if isinstance(facts, CredentialError) or not facts:
            continue
        begins_on = facts[0].begins_on if key == "cert_file" else min(each.begins_on for each in facts)
        if begins_on > context.today:
            text = (
                f"{key} of {entry.name} ({facts[0].subject}) is valid from {begins_on} on; until then every connection"
                " that needs it is refused; keep the old one until that day, or ask for one that is valid now"
            )
            yield error("certificate-not-yet-valid", text, entry.at(key), about=(entry.name,))


def _key(entry: Certificate, own: tuple[CertificateFacts, ...] | None) -> Iterator[Problem]:
    if entry.key_is_shared:
        text = (
            f"the key of {entry.name} lies in clear in {entry.key_file}, and others on this machine may read it;"
            f" whoever has it is taken for its owner; encrypt it (`ansible-vault encrypt"
            f" {entry.key_file}`), or chmod 600"
        )
        yield warning("certificate-key-shared", text, entry.at("key"), about=(entry.name,))
    if entry.key is None or not entry.key.is_open:
        return
    try:
        digest = parse_key(entry.key.reveal())
    except CredentialError as wrong:
        text = f"the key of {entry.name} {wrong}; nobody could be shown the certificate; put its PEM key there"
        yield error("certificate-key-unreadable", text, entry.at("key"), about=(entry.name,))
        return
    for certificate in own or ():
        if certificate.key_digest == digest:
            continue
        text = (
            f"the key of {entry.name} does not belong to its certificate {certificate.subject}; no connection could be"
            " made with the two; put the key there that the certificate was asked for with"
        )
        yield error("certificate-key-foreign", text, entry.at("key"), about=(entry.name,))
