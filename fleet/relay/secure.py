"""Verified TLS (PS3.15 B.12, BCP 195): 1.2 or newer, chain and name checked, never less, on both sides."""

import socket
import ssl
import stat
from pathlib import Path
from typing import Final

from fleet.relay.values import ReceiveTls, Tls

# RFC 9325 4.2: of TLS 1.2 nothing but ephemeral keys with authenticated encryption; 1.3 has nothing else.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


def make_context(tls: Tls) -> ssl.SSLContext:
    """What verifies a destination; without a CA of its own, the host's. Read for each association: CAs are renewed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and name by itself
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(tls.ca_file)
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    return context


def make_server_context(tls: ReceiveTls) -> ssl.SSLContext:
    """What callers meet; with a CA, whoever has no certificate by it gets no further. Read on start and reload."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION  # RFC 9325 3.3, 3.5
    # An empty password: without one OpenSSL would ask for an encrypted key's on the terminal.
    context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    if tls.ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(tls.ca_file)
    return context


def check_tls(tls: Tls) -> str | None:
    """Why a destination could never be verified; None where it may be."""
    if tls.ca_file is not None and not Path(tls.ca_file).is_file():
        return f"there is no CA file {tls.ca_file}, so nothing could be verified; images never go there in the clear"
    if tls.key_file is not None and (sentence := _check_key(tls.key_file)) is not None:
        return sentence
    try:
        make_context(tls)
    except (OSError, ssl.SSLError) as error:
        return f"the files {_names(tls.ca_file, tls.cert_file, tls.key_file)} cannot be used: {error}"
    return None


def check_server_tls(tls: ReceiveTls) -> str | None:
    """Why callers could not be met with this; None where they can. Receiving in the clear instead is no way out."""
    for path in (tls.cert_file, tls.ca_file):
        if path is not None and not Path(path).is_file():
            return f"there is no file {path}; nothing is received in the clear instead"
    if (sentence := _check_key(tls.key_file)) is not None:
        return sentence
    try:
        make_server_context(tls)
    except (OSError, ssl.SSLError) as error:
        return f"the files {_names(tls.cert_file, tls.key_file, tls.ca_file)} cannot be used: {error}"
    return None


def _check_key(path: str) -> str | None:
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        return f"the private key {path} cannot be read: {error.strerror}"
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        seen = f"the private key {path} has mode {stat.S_IMODE(mode):o}"
        return f"{seen}, so that anybody can read or replace it; give it 0600"
    return None


def _names(*paths: str | None) -> str:
    return ", ".join(path for path in paths if path)


def wrap(sock: socket.socket, tls: Tls, address: str) -> ssl.SSLSocket:
    """Make a connection a verified one; raises OSError, and leaves the socket to be closed."""
    return make_context(tls).wrap_socket(sock, server_hostname=tls.server_name or address)
