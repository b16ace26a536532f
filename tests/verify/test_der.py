"""Keys and certificates in DER become the PEM that they were."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fleet.verify.der import format_certificate_pem, format_key_pem
from tests.verify.certificates import make_authority

Format = serialization.PrivateFormat
KEYS: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {
    "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ec": ec.generate_private_key(ec.SECP256R1()),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("form", [Format.PKCS8, Format.TraditionalOpenSSL])
def test_a_key_becomes_the_pem_that_the_library_writes(kind: str, form: Format) -> None:
    plain = serialization.NoEncryption()
    der = KEYS[kind].private_bytes(serialization.Encoding.DER, form, plain)
    assert format_key_pem(der).encode() == KEYS[kind].private_bytes(serialization.Encoding.PEM, form, plain)


def test_an_encrypted_key_is_known_as_one() -> None:
    secret = serialization.BestAvailableEncryption(b"secret")
    der = KEYS["ec"].private_bytes(serialization.Encoding.DER, Format.PKCS8, secret)
    assert format_key_pem(der).startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")


def test_a_certificate_becomes_pem() -> None:
    authority = make_authority("Ours")
    der = authority.certificate.public_bytes(serialization.Encoding.DER)
    assert format_certificate_pem(der).strip() == authority.pem.strip()


@pytest.mark.parametrize(
    "data", [b"", b"-----BEGIN PRIVATE KEY-----", b"\x30\x82\xff\xff\x02\x01", b"\x30\x03\x02\x01\x07"]
)
def test_what_is_no_der_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"DER"):
        format_key_pem(data)
