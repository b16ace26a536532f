"""What a certificate says, as far as rules judge it: the same verdict as OpenSSL's, which every connection meets."""

import ssl
from pathlib import Path

import pytest

from fleet.secrets.credentials import parse_certificates
from tests.validate.write_certificates import FAR, Pair, cert_pem, certify, key_pem

CA = certify("clinic", FAR, authority=True)
NAMES = (
    "pacs.example",
    "PACS.Example",
    "pacs.example.",
    "a.front.example",
    "a.b.front.example",
    "front.example",
    "other.example",
    "10.0.0.11",
    "10.0.0.12",
    "2001:db8::1",
    "2001:0DB8:0::1",
)


def takes(pair: Pair, name: str, folder: Path) -> bool:
    """Whether a client that expects `name` goes on, without a socket."""
    (folder / "cert.pem").write_text(cert_pem(pair) + key_pem(pair), encoding="ascii")
    server_side, client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server_side.load_cert_chain(folder / "cert.pem")
    client_side.load_verify_locations(cadata=cert_pem(CA))
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(back, there, server_hostname=name)
    server = server_side.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except (ssl.SSLCertVerificationError, ValueError):
                return False
            if side is client:
                return True
    raise AssertionError("the handshake did not end")


@pytest.mark.parametrize(
    "hosts",
    [
        ("pacs.example",),
        ("*.front.example", "Pacs.Example"),
        ("*.example",),
        ("p*.example",),
        ("10.0.0.11", "2001:db8::1"),
        ("10.0.0.11", "other.example"),
        (),
    ],
    ids=str,
)
@pytest.mark.parametrize("common_name", ["pacs.example", "10.0.0.11", "some body"])
def test_a_certificate_bears_the_names_for_which_openssl_takes_it(
    hosts: tuple[str, ...], common_name: str, tmp_path: Path
) -> None:
    pair = certify(common_name, FAR, CA, hosts=hosts)
    facts = parse_certificates(cert_pem(pair))[0]
    verdicts = {name: takes(pair, name, tmp_path) for name in NAMES}
    assert {name: facts.bears(name) for name in NAMES} == verdicts
