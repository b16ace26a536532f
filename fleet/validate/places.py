"""Addresses as text: what is an IP address, what is a name, and which two are one."""

import ipaddress
import re

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_DIGITS_AND_DOTS = re.compile(r"[0-9.]+")


def is_ip_address(text: str) -> bool:
    """Whether a server can compare it with the address of a connection."""
    return _IPV4.fullmatch(text) is not None or (":" in text and _is_ipv6(text))


def is_malformed(text: str) -> bool:
    """Whether it looks like an IP address and is none: 10.20.0.300 would be asked of the DNS as a name."""
    if ":" in text:
        return not _is_ipv6(text)
    return _DIGITS_AND_DOTS.fullmatch(text) is not None and _IPV4.fullmatch(text) is None


def normalize_address(text: str) -> str:
    """One spelling for each address, so that two of them can be compared."""
    if ":" in text and _is_ipv6(text):
        return ipaddress.IPv6Address(text).compressed
    return text.lower()


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
