"""Verified TLS to destinations (PS3.15 B.12): TLS 1.2 or newer, the chain and the name checked, never less."""

import socket
import ssl
from pathlib import Path

from fleet.relay.values import Tls


def make_context(tls: Tls) -> ssl.SSLContext:
    """What verifies a destination; without a CA of its own, the host's. Read for each association: CAs are renewed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and name by itself
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(tls.ca_file)
    return context


def check_tls(tls: Tls) -> str | None:
    """Why a destination could never be verified; None where it may be."""
    if tls.ca_file is not None and not Path(tls.ca_file).is_file():
        return f"there is no CA file {tls.ca_file}, so nothing could be verified; images never go there in the clear"
    try:
        make_context(tls)
    except (OSError, ssl.SSLError) as error:
        return f"the CA file {tls.ca_file} cannot be used: {error}"
    return None


def wrap(sock: socket.socket, tls: Tls, address: str) -> ssl.SSLSocket:
    """Make a connection a verified one; raises OSError, and leaves the socket to be closed."""
    return make_context(tls).wrap_socket(sock, server_hostname=tls.server_name or address)
