"""What stands in certificates and keys (RFC 5280, RFC 7468), as far as a person can get it wrong.

Frozen facts, so that rules can judge without knowing the library; what cannot be read is a `CredentialError` in
words that hold nothing of a key.
"""

import hashlib
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final

_BEGIN_ENCRYPTED: Final = ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED")


class CredentialError(Exception):
    """Why a text is no certificate, or no key that can be used."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """One certificate: dates are days in UTC; `key_digest` tells whether a key belongs to it."""

    subject: str
    begins_on: date
    ends_on: date
    is_authority: bool
    signed_itself: bool
    key_digest: str


def parse_certificates(pem: str) -> tuple[CertificateFacts, ...]:
    """Every certificate of a PEM text, in its order. Raises `CredentialError` where there is none, or one is broken."""
    return _parse_certificates(pem)


@lru_cache(maxsize=1024)
def _parse_certificates(pem: str) -> tuple[CertificateFacts, ...]:
    from cryptography import x509  # only an inventory with certificates pays

    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        return tuple(_facts(each) for each in found)
    except ValueError:
        raise CredentialError("holds no certificate in PEM (-----BEGIN CERTIFICATE-----) that can be read") from None


def _facts(certificate: Any) -> CertificateFacts:
    from cryptography import x509

    try:
        is_authority = bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        is_authority = False
    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(),
        begins_on=certificate.not_valid_before_utc.date(),
        ends_on=certificate.not_valid_after_utc.date(),
        is_authority=is_authority,
        signed_itself=certificate.subject == certificate.issuer,
        key_digest=_digest_of(certificate.public_key()),
    )


def parse_key(pem: str) -> str:
    """The digest of a private key's public half. Raises `CredentialError`, whose words hold nothing of the key."""
    if any(mark in pem for mark in _BEGIN_ENCRYPTED):
        raise CredentialError(
            "is encrypted by a passphrase of its own, which a service could not type; take that off with `openssl pkey"
            " -in OLD -out NEW` and encrypt the file with `ansible-vault encrypt NEW`"
        )
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return _digest_of(load_pem_private_key(pem.encode(), password=None).public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    raise CredentialError("is no private key in PEM (-----BEGIN PRIVATE KEY-----) that can be read")


def _digest_of(public_key: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()
