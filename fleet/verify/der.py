"""Certificates and keys in DER as the PEM text that OpenSSL's loaders want (RFC 7468)."""

import base64
import ssl
import textwrap
from typing import Final

_INTEGER: Final = 0x02
_OCTET_STRING: Final = 0x04
_SEQUENCE: Final = 0x30


def format_certificate_pem(der: bytes) -> str:
    """A certificate; ValueError where the bytes cannot be one."""
    if der[:1] != bytes((_SEQUENCE,)):
        raise ValueError("not DER (a PEM file? then leave -der out)")
    return ssl.DER_cert_to_PEM_cert(der)


def format_key_pem(der: bytes) -> str:
    """A private key of any of the usual kinds, told apart by the first elements of its sequence."""
    tag, start, _ = _read_element(der, 0)
    first, _, after_first = _read_element(der, start)
    if tag != _SEQUENCE:
        raise ValueError("not DER (a PEM file? then leave -der out)")
    if first == _SEQUENCE:  # RFC 5958 section 3
        return _format_pem("ENCRYPTED PRIVATE KEY", der)
    second, _, _ = _read_element(der, after_first)
    labels = {
        _SEQUENCE: "PRIVATE KEY",  # RFC 5958 section 2
        _INTEGER: "RSA PRIVATE KEY",  # RFC 8017 appendix A.1.2
        _OCTET_STRING: "EC PRIVATE KEY",  # RFC 5915 section 3
    }
    if first != _INTEGER or second not in labels:
        raise ValueError("no private key in DER")
    return _format_pem(labels[second], der)


def _read_element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, where the value begins and where it ends (X.690 section 8.1)."""
    if len(der) < at + 2:
        raise ValueError("not DER: it ends too early")
    length = der[at + 1]
    start = at + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[start : start + size], "big")
        start += size
    if start + length > len(der):
        raise ValueError("not DER: it ends too early")
    return der[at], start, start + length


def _format_pem(label: str, der: bytes) -> str:
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode("ascii"), 64))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"
