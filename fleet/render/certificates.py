"""TLS files of a host: the CAs that its services verify with, and the certificates and keys that they show.

A file is there where a service of that host needs it, and nowhere else: a key above all. CAs and certificates are
everybody's to read; a key belongs to the service's user alone (0600), and two services have two copies of it.
"""

from collections.abc import Iterable
from typing import Final

from fleet.errors import UnfitValue
from fleet.inventory.model import Certificate, Inventory
from fleet.render.artifacts import RenderedFile
from fleet.targets.relay import TRUST_FOLDER

KEY_MODE: Final = 0o600


def ca_path(name: str) -> str:
    """Where the CAs of a certificate's entry are kept."""
    return f"{TRUST_FOLDER}/{name}.pem"


def cert_path(name: str) -> str:
    """Where a certificate is kept."""
    return f"{TRUST_FOLDER}/{name}.crt"


def key_path(name: str, service: str) -> str:
    """Where a service keeps its copy of a certificate's key."""
    return f"{TRUST_FOLDER}/{service}.{name}.key"


def render_authority(inventory: Inventory, host: str, name: str, units: tuple[str, ...] = ()) -> RenderedFile:
    """The CAs of an entry, as a file that `units` read on a reload. Raises `UnfitValue`."""
    entry = _entry(inventory, name)
    if not entry.ca_pem:
        raise UnfitValue(f"the certificate {name!r} has no ca_file, so nobody can be verified with it")
    return RenderedFile(host, ca_path(name), _lines(entry.ca_pem, f"ca_file of {name}"), reloads=units)


def render_own(
    inventory: Inventory, host: str, name: str, reader: tuple[str, str], units: tuple[str, ...] = ()
) -> Iterable[RenderedFile]:
    """A certificate and its key for a service (its name and its user). Raises `UnfitValue`, `SealedSecret`."""
    entry = _entry(inventory, name)
    if not entry.cert_pem or entry.key is None:
        raise UnfitValue(f"the certificate {name!r} has no cert_file or no key, so it cannot be shown to anybody")
    service, user = reader
    yield RenderedFile(host, cert_path(name), _lines(entry.cert_pem, f"cert_file of {name}"), reloads=units)
    key = _lines(entry.key.reveal(), f"the key of {name}")
    yield RenderedFile(
        host,
        key_path(name, service),
        key,
        mode=KEY_MODE,
        owner=f"{user}:{user}",
        reloads=units,
        secrets=((0, len(key)),),
    )


def _entry(inventory: Inventory, name: str) -> Certificate:
    entry = inventory.certificates.get(name)
    if entry is None:
        raise UnfitValue(f"there is no certificate {name!r} in the inventory")
    return entry


def _lines(pem: str, what: str) -> str:
    """PEM as lines that end in LF; RFC 7468 section 2 has nothing beyond ASCII. Not a character of it is told."""
    text = pem.replace("\r\n", "\n")
    if not text.isascii() or "\r" in text or "\x00" in text:
        raise UnfitValue(f"{what} holds characters that no PEM file has")
    return text if text.endswith("\n") else f"{text}\n"
