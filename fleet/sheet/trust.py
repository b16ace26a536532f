"""What a box that speaks TLS has to be given: which CAs it trusts, and which certificates it shows (PS3.15 B.12).

fleet and our relays never speak to a certificate that they cannot verify, and neither should the box. So its sheet
names the CA of each peer, the name that the peer's certificate bears, the certificate by which the box itself is
known, and whether its peer lets nobody in who shows none.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fleet.inventory.model import Certificate, Entity, Inventory
from fleet.inventory.peers import Peer
from fleet.secrets.credentials import CertificateFacts, CredentialError, parse_certificates

ITSELF = "this box"
OURS = "fleet and its relays"


class Need(StrEnum):
    """What has to be done, and in which connections."""

    TRUST_CALLED = "trust the CA of whom it calls"
    SHOW_CALLED = "show whom it calls a certificate of its own"
    SHOW_CALLERS = "show its callers a certificate of its own"
    TRUST_CALLERS = "trust the CA of its callers"


@dataclass(frozen=True, slots=True, order=True)
class TlsNeed:
    """One thing to load into the box.

    `certificate` is the inventory's entry, empty where it holds none; `name` what the certificate must bear; `holds`
    says in words which certificates the entry is of, so that it changes when they do.
    """

    need: Need
    peer: str
    certificate: str
    name: str = ""
    holds: tuple[str, ...] = ()

    def to_json(self) -> Mapping[str, Any]:
        """As it is kept, and compared with later."""
        return {
            "direction": str(self.need),
            "peer": self.peer,
            "certificate": self.certificate,
            "name": self.name,
            "holds": list(self.holds),
        }


def find_tls_needs(inventory: Inventory, entity: Entity, called: Iterable[Peer]) -> tuple[TlsNeed, ...]:
    """What `entity` needs for those whom it calls, and for those who call it."""
    peers = {peer.entity.name: peer.entity for peer in called if peer.tls and peer.entity is not None}
    needs = [need for peer in peers.values() for need in _for_called(inventory, peer)]
    if entity.listens or any(also.listens for also in entity.also):
        needs += _for_callers(inventory, entity)
    return tuple(sorted(needs))


def _for_called(inventory: Inventory, peer: Entity) -> Iterator[TlsNeed]:
    if peer.tls is None:
        return
    yield _need(inventory, Need.TRUST_CALLED, peer.ae_title, peer.tls.verify_ca, peer.tls.verify_name or "")
    serving = (peer.run.settings.get("tls") if peer.run else None) or {}
    if serving.get("callers_ca"):
        yield _need(inventory, Need.SHOW_CALLED, peer.ae_title, serving["callers_ca"])
    elif peer.tls.present is not None and not serving:
        # A box that asks us for a certificate asks everybody; by which CA it takes one from others, its owner knows.
        yield TlsNeed(Need.SHOW_CALLED, peer.ae_title, "")


def _for_callers(inventory: Inventory, entity: Entity) -> Iterator[TlsNeed]:
    if entity.tls is None:
        return
    yield _need(inventory, Need.SHOW_CALLERS, ITSELF, entity.tls.verify_ca, entity.tls.verify_name or "")
    if entity.tls.present is not None:
        shown = inventory.certificates.get(entity.tls.present)
        issuers = tuple(f"issued by {each.issuer}" for each in _facts(shown.cert_pem if shown else None)[:1])
        yield TlsNeed(Need.TRUST_CALLERS, OURS, entity.tls.present, "", issuers)


def _need(inventory: Inventory, need: Need, peer: str, entry: str | None, name: str = "") -> TlsNeed:
    authority: Certificate | None = inventory.certificates.get(entry or "")
    facts = _facts(authority.ca_pem if authority else None)
    holds = tuple(f"{each.subject}, SHA-256 {each.fingerprint}" for each in facts)
    return TlsNeed(need, peer, entry or "", name, holds)


def _facts(pem: str | None) -> tuple[CertificateFacts, ...]:
    """What cannot be read is told by `validate`."""
    try:
        return () if pem is None else parse_certificates(pem)
    except CredentialError:
        return ()
