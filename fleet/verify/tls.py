"""TLS as a layer of bytes (PS3.15 annex B, BCP 195 profiles): no socket, so it runs over anything.

`ssl.MemoryBIO` keeps the library away from sockets; the sweep's loop and an SSH channel are the same
to it. Failures become one sentence that says which of the usual ones it is.
"""

import contextlib
import os
import re
import ssl
from collections.abc import Callable, Iterator

from fleet.verify.classify import guess_protocol
from fleet.verify.values import ClientCertificate, TlsSettings

# BCP 195 (RFC 9325 section 4.2) for TLS 1.2; TLS 1.3 has only good suites.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
_CHUNK_BYTES = 65_536

# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_VERIFY_WORDS = {
    3: "there is no revocation list of the authority that issued the peer's certificate; check our CRL file",
    9: "the peer's certificate is not valid yet; check both clocks",
    10: "the peer's certificate has expired; the peer's administrator has to renew it",
    18: "the peer's certificate is self-signed and not among the authorities that we trust",
    19: "the peer's certificate comes from an authority that we do not trust (self-signed root)",
    20: "the peer's certificate comes from an authority that we do not trust",
    21: "the peer's certificate cannot be verified: its chain is incomplete",
    23: "the peer's certificate has been revoked",
    62: "the peer's certificate is for another name than {name}",
    64: "the peer's certificate is for another address than {name}",
}

# Parts of OpenSSL's reason strings, in the order in which they are tried.
_REASON_WORDS = (
    (
        "CERTIFICATE_REQUIRED",
        "the peer asks for a certificate of ours; name one in the target's TLS settings",
    ),
    ("BAD_CERTIFICATE", "the peer refuses our certificate"),
    ("UNKNOWN_CA", "the peer does not trust the authority of our certificate"),
    ("CERTIFICATE_EXPIRED", "the peer says that our certificate has expired"),
    ("CERTIFICATE_UNKNOWN", "the peer refuses our certificate"),
    (
        "HANDSHAKE_FAILURE",
        "the peer ended the handshake: no common cipher, or it asks for a certificate of ours",
    ),
    ("PROTOCOL_VERSION", "no common version of TLS; the peer may only have versions older than 1.2"),
    ("UNSUPPORTED_PROTOCOL", "no common version of TLS; the peer may only have versions older than 1.2"),
)


class TlsError(Exception):
    """TLS with this peer failed; the message is the detail of the result."""


class LocalTlsError(Exception):
    """Our own TLS material cannot be used."""


def make_context(settings: TlsSettings) -> ssl.SSLContext:
    """Build the context of a client, or say which of our files is to blame."""
    try:
        return _make_context(settings)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise LocalTlsError(f"our own TLS files cannot be used: {error}") from error


def _make_context(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ciphers:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(map(openssl_name, settings.ciphers)) or _CIPHERS)
    context.check_hostname = settings.check_name and settings.require_certificate
    context.verify_mode = ssl.CERT_REQUIRED if settings.require_certificate else ssl.CERT_NONE
    if settings.ca_file or settings.ca_pem:
        context.load_verify_locations(settings.ca_file, None, settings.ca_pem)
    for folder in settings.ca_folders:
        context.load_verify_locations(None, folder)
    if settings.require_certificate and not (settings.ca_file or settings.ca_pem or settings.ca_folders):
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    for crl_file in settings.crl_files:
        context.load_verify_locations(crl_file)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if settings.certificate is not None:
        _load_certificate(context, settings.certificate)
    return context


def openssl_name(name: str) -> str:
    """A suite's name as OpenSSL 3.0 knows it: TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 is ECDHE-RSA-AES128-GCM-SHA256."""
    if not name.startswith("TLS_"):
        return name
    if "_WITH_" not in name:
        raise ValueError(
            f"the cipher suite {name} is none of TLS 1.2; those of TLS 1.3 are offered without being named"
        )
    exchange, _, cipher = name.removeprefix("TLS_").partition("_WITH_")
    cipher = re.sub(r"(AES|CAMELLIA|ARIA)_(\d+)", r"\1\2", cipher).replace(
        "CHACHA20_POLY1305_SHA256", "CHACHA20_POLY1305"
    )
    if cipher.startswith(("AES", "CAMELLIA")):
        cipher = cipher.replace("_CBC", "")
    return (cipher if exchange == "RSA" else f"{exchange}_{cipher}").replace("_", "-")


def _load_certificate(context: ssl.SSLContext, own: ClientCertificate) -> None:
    with _as_file(own.cert_pem) as cert, _as_file(own.key_pem) as key:
        # Without a password OpenSSL would ask on the terminal, and a sweep must never wait for one.
        context.load_cert_chain(cert, key, password=own.key_password or "")


@contextlib.contextmanager
def _as_file(pem: bytes) -> Iterator[str]:
    """Yield a path to *pem* that never touches a disk (memfd_create(2)): the library takes a key by path only."""
    with os.fdopen(os.memfd_create("fleet-pem", os.MFD_CLOEXEC), "wb", buffering=0) as file:
        file.write(pem)
        yield f"/proc/self/fd/{file.fileno()}"


class TlsLayer:
    """One TLS client session between ciphertext and plaintext."""

    __slots__ = ("_head", "_incoming", "_name", "_object", "_outgoing", "closed_by_peer", "established")

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._name = name
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name or None)
        self._head = b""
        self.established = False
        self.closed_by_peer = False

    def start(self) -> bytes:
        """Return the ClientHello."""
        self._advance()
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """Take ciphertext, go on with the handshake as far as it gets, return plaintext."""
        if len(self._head) < 16:
            self._head += data[:16]
        self._incoming.write(data)
        if not self.established:
            self._advance()
        return self._read() if self.established else b""

    def encrypt(self, data: bytes) -> bytes:
        """Return what has to go to the peer: the handshake's own bytes, and *data* as ciphertext."""
        if data:
            with contextlib.suppress(ssl.SSLError):  # the session is broken; the transport will tell how
                self._object.write(data)
        return self._outgoing.read()

    def close(self) -> bytes:
        """Return a close_notify (RFC 8446 section 6.1)."""
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()
        return self._outgoing.read()

    def describe_close(self) -> str:
        """The words for a peer that went away during the handshake."""
        return "the peer closed the connection during the TLS handshake; it seems not to speak TLS"

    def certificate_days(self, wall_clock: Callable[[], float]) -> int | None:
        """Whole days until the peer's verified certificate expires."""
        expires = (self._object.getpeercert() or {}).get("notAfter")
        if not isinstance(expires, str):
            return None
        return int((ssl.cert_time_to_seconds(expires) - wall_clock()) // 86_400)

    def _advance(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLError, ValueError) as error:
            raise TlsError(self._describe(error)) from error
        self.established = True

    def _read(self) -> bytes:
        pieces = []
        try:
            while piece := self._object.read(_CHUNK_BYTES):
                pieces.append(piece)
            self.closed_by_peer = True  # close_notify: nothing comes after it, even where the transport stays open
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed_by_peer = True
        except ssl.SSLError as error:
            if not pieces:
                raise TlsError(self._describe(error)) from error
        return b"".join(pieces)

    def _describe(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            words = _VERIFY_WORDS.get(error.verify_code)
            if words is None:
                return f"the peer's certificate is not valid: {error.verify_message}"
            return words.format(name=self._name)
        if self._head and self._head[0] not in (0x14, 0x15, 0x16, 0x17):  # RFC 8446 section 5.1
            return self._describe_plain_peer()
        reason = getattr(error, "reason", None) or str(error)
        for part, words in _REASON_WORDS:
            if part in reason:
                return words
        return f"the TLS handshake failed: {reason}"

    def _describe_plain_peer(self) -> str:
        if self._head[0] == 0x07:
            return "the peer does not speak TLS on this port: it answered in plain DICOM (A-ABORT)"
        seen = guess_protocol(self._head)
        name = f"it seems to be {seen}" if seen else f"its answer begins {self._head.hex(' ')}"
        return f"the peer does not speak TLS: {name}"
