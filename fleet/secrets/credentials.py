"""What stands in certificates and keys (RFC 5280, RFC 7468), as far as a person can get it wrong.

Frozen facts, so that rules can judge without knowing the library; what cannot be read is a `CredentialError` in
words that hold nothing of a key.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

_BEGIN_ENCRYPTED: Final = ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED")


class CredentialError(Exception):
    """Why a text is no certificate, or no key that can be used."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """One certificate: dates are days in UTC; `key_digest` tells whether a key belongs to it.

    `names` is for whom it is: hosts in lower case, and addresses as Python writes them. `fingerprint` is SHA-256 as
    `openssl x509 -fingerprint` writes it, for people to compare.
    """

    subject: str
    begins_on: date
    ends_on: date
    is_authority: bool
    signed_itself: bool
    key_digest: str
    issuer: str
    fingerprint: str
    names: tuple[str, ...] = ()

    def bears(self, name: str) -> bool:
        """Whether who expects this name or address takes the certificate, as OpenSSL decides it."""
        wanted = _address(name) or name.lower()
        if wanted in self.names:
            return True
        # RFC 6125 section 6.4.3: an asterisk stands for the whole first label, and OpenSSL wants two more after it.
        first, _, rest = wanted.partition(".")
        return _address(name) is None and bool(first) and "." in rest and f"*.{rest}" in self.names


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
    from cryptography.hazmat.primitives.hashes import SHA256

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
        issuer=certificate.issuer.rfc4514_string(),
        fingerprint=certificate.fingerprint(SHA256()).hex(":").upper(),
        names=tuple(_names(certificate)),
    )


def _names(certificate: Any) -> Iterator[str]:
    """Those of the subject alternative name; where it names no host the common name (RFC 6125 section 6.4.4).

    What looks like an address and stands where hosts stand is for nobody: who expects an address looks at addresses.
    """
    from cryptography import x509

    try:
        borne = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        borne = x509.SubjectAlternativeName([])
    yield from (str(address) for address in borne.get_values_for_type(x509.IPAddress))
    hosts = borne.get_values_for_type(x509.DNSName)
    if not hosts:
        hosts = [str(each.value) for each in certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    yield from (host.lower() for host in hosts if _address(host) is None)


def _address(name: str) -> str | None:
    try:
        return str(ip_address(name))
    except ValueError:
        return None


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
