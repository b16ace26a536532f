"""Makes the certificates and sealed values of `tests/cases/rules`, which end on dates that the cases name.

Run once (`python -m tests.validate.write_certificates`) when a case is added: what is there is kept, so that the
repository does not change with every run.
"""

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleet.secrets.vault_format import seal_bytes

CASES = Path(__file__).parent.parent / "cases" / "rules"
PASSWORD = b"cases"  # opens every sealed value of the cases
FAR, SOON, OVER = datetime.date(2046, 1, 1), datetime.date(2026, 12, 10), datetime.date(2026, 11, 1)
LONG_AGO, LATER = datetime.date(2020, 1, 1), datetime.date(2026, 12, 1)

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def certify(
    name: str,
    ends_on: datetime.date,
    issuer: Pair | None = None,
    *,
    authority: bool = False,
    hosts: Sequence[str] = (),
    begins_on: datetime.date = LONG_AGO,
) -> Pair:
    """A certificate and its key, signed by `issuer` or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.combine(begins_on, datetime.time(0), datetime.UTC))
        .not_valid_after(datetime.datetime.combine(ends_on, datetime.time(12), datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        built = built.add_extension(names, critical=False)
    return built.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def cert_pem(pair: Pair) -> str:
    return pair[0].public_bytes(serialization.Encoding.PEM).decode()


def key_pem(pair: Pair, passphrase: bytes | None = None) -> str:
    closing: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        closing = serialization.BestAvailableEncryption(passphrase)
    return pair[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, closing).decode("ascii")


def seal(text: str) -> str:
    return seal_bytes(text.encode(), PASSWORD, b"salt of the cases" * 2)


def write(path: str, text: str) -> None:
    """One file, unless it is there."""
    whole = CASES / path
    whole.parent.mkdir(exist_ok=True)
    if not whole.exists():
        whole.write_text(text, encoding="ascii")


def main() -> None:
    authority = certify("Clinic CA", FAR, authority=True)
    leaf, other = certify("pacs.clinic.example", FAR, authority), certify("other", FAR, authority)
    write("certificate-unreadable/junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    write("certificate-unreadable/ca.pem", cert_pem(authority))
    write("certificate-not-ca/leaf.pem", cert_pem(leaf))
    write("certificate-not-ca/own.pem", cert_pem(certify("signed itself", FAR)))
    for folder in ("certificate-key-unreadable", "certificate-key-foreign", "certificate-key-shared"):
        write(f"{folder}/leaf.pem", cert_pem(leaf))
        write(f"{folder}/leaf.key", seal(key_pem(leaf)))
    write("certificate-key-unreadable/passphrase.key", seal(key_pem(leaf, b"passphrase")))
    write("certificate-key-unreadable/no.key", seal("no key at all\n"))
    write("certificate-key-foreign/other.key", seal(key_pem(other)))
    write("certificate-key-shared/clear.key", key_pem(leaf))
    write("certificate-expired/over.pem", cert_pem(certify("Old CA", OVER, authority=True)))
    write("certificate-expires-soon/soon.pem", cert_pem(certify("Late CA", SOON, authority=True)))
    later = certify("New CA", FAR, authority=True, begins_on=LATER)
    early = certify("early", FAR, authority, begins_on=LATER)
    write("certificate-not-yet-valid/later.pem", cert_pem(later))
    write("certificate-not-yet-valid/both.pem", cert_pem(authority) + cert_pem(later))
    write("certificate-not-yet-valid/early.pem", cert_pem(early))
    write("certificate-not-yet-valid/early.key", seal(key_pem(early)))
    hosts = ("gate.clinic.example", "*.front.clinic.example", "10.0.0.11")
    for path, named in (
        ("certificate-name-foreign/gate", certify("relays of the clinic", FAR, authority, hosts=hosts)),
        ("certificate-name-foreign/old", certify("gate.clinic.example", FAR, authority)),
    ):
        write(f"{path}.pem", cert_pem(named))
        write(f"{path}.key", seal(key_pem(named)))
    write("certificate-name-foreign/ca.pem", cert_pem(authority))
    for folder in ("certificate-expired", "certificate-expires-soon"):
        write(f"{folder}/ca.pem", cert_pem(authority))


if __name__ == "__main__":
    main()
