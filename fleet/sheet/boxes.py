"""What a person types into a box that we cannot push to: one sheet a box, and which boxes are open.

A sheet holds all that has to stand in the box and nothing else, so its digest changes exactly when somebody has
to type. The rows are the same facts that our own servers' tables are rendered from: virtual addresses as
destinations, instances' addresses as sources, all as seen from the box's site.

Storage commitment comes back as C-MOVE does: who was asked to commit opens an association of its own to whoever
asked (PS3.4 J.3.3), so the box is called, or calls, once more.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from fleet.inventory.model import AlsoTitle, Entity, Inventory
from fleet.inventory.peers import Peer, Peers, titles_for
from fleet.sheet.trust import TlsNeed, find_tls_needs

COMMITMENT: Final = "storage-commitment"


class Direction(StrEnum):
    """Who opens the association, as the box's administrator would say it."""

    CALLS_BOX = "calls this box"
    IS_CALLED = "is called by this box"


@dataclass(frozen=True, slots=True, order=True)
class OwnTitle:
    """A title of the box itself, where it listens (None: nowhere) and what it does under it."""

    ae_title: str
    port: int | None
    services: tuple[str, ...]
    tls: bool = False


@dataclass(frozen=True, slots=True, order=True)
class PeerRow:
    """A peer in the box's tables.

    `addresses` are where it calls from, or where it is called; `port` is the one to call (None for a caller). No
    addresses means unknown (DHCP).
    `as_titles` are the box's own titles in these services, given where it has several.
    """

    direction: Direction
    ae_title: str
    addresses: tuple[str, ...]
    port: int | None
    services: tuple[str, ...]
    tls: bool = False
    role: str = "entity"
    as_titles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """One page: the box, its own titles, its peers; `description`, `contact`, `site` only help to find it."""

    box: str
    name: str
    address: str | None
    own: tuple[OwnTitle, ...]
    peers: tuple[PeerRow, ...]
    site: str = ""
    description: str = ""
    contact: str = ""
    tls: tuple[TlsNeed, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of what has to be typed; stable over runs, and blind to descriptions and contacts."""
        text = json.dumps(self.typed(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def typed(self) -> Mapping[str, Any]:
        """What has to stand in the box, as plain data."""
        return {
            "box": self.box,
            "address": self.address,
            "own": [
                {"ae_title": own.ae_title, "port": own.port, "services": list(own.services), "tls": own.tls}
                for own in self.own
            ],
            "peers": [
                {
                    "direction": str(row.direction),
                    "ae_title": row.ae_title,
                    "addresses": list(row.addresses),
                    "port": row.port,
                    "services": list(row.services),
                    "tls": row.tls,
                    "as_titles": list(row.as_titles),
                }
                for row in self.peers
            ],
            **({"tls": [need.to_json() for need in self.tls]} if self.tls else {}),
        }

    def to_json(self) -> Mapping[str, Any]:
        """What the history keeps, and what `changed_since` compares with later."""
        return {**self.typed(), "digest": self.digest, "site": self.site}


def is_box(entity: Entity) -> bool:
    """Whether a person has to type its settings: nothing of it is on hosts of ours, or no engine of ours."""
    return not entity.instances or entity.engine == "none"


def find_boxes(inventory: Inventory) -> tuple[Entity, ...]:
    """Every box of the inventory, in file order."""
    return tuple(entity for entity in inventory.entities if is_box(entity))


# Making a sheet ------------------------------------------------------------------------------------------


def make_sheet(peers: Peers, entity: Entity) -> Sheet:
    """The sheet of a box."""
    called, callers = peers.called_by(entity), peers.callers_of(entity)
    rows = [row for peer in called for row in _called_rows(peers, entity, peer)]
    told = [peer for peer in callers if COMMITMENT in peer.services and peer.address]
    rows += [_report_row(peer) for peer in told]
    if entity.listens or any(title.listens for title in entity.also):
        rows += [_caller_row(peers, entity, peer) for peer in callers]
        rows += [_reporter_row(peers, entity, peer) for peer in called if COMMITMENT in peer.services]
    return Sheet(
        box=entity.ae_title,
        name=entity.name,
        address=entity.address,
        own=tuple(_own_title(entity, title) for title in entity.titles),
        peers=tuple(sorted(_merge(rows, entity), key=_row_key)),
        site=entity.site,
        description=entity.description,
        contact=entity.contact,
        tls=find_tls_needs(peers.inventory, entity, (*called, *told)),
    )


def _own_title(entity: Entity, title: str) -> OwnTitle:
    further = next((also for also in entity.also if also.ae_title == title), None)
    if further is None:
        port = entity.port if entity.listens else None
        if port is None and entity.listens and entity.instances:
            port = entity.instances[0].port
        services: tuple[str, ...] = tuple(sorted(entity.provides)) if entity.listens else ()
        return OwnTitle(title, port, services, entity.tls is not None)
    return OwnTitle(title, _further_port(entity, further), tuple(sorted(further.services)), entity.tls is not None)


def _further_port(entity: Entity, further: AlsoTitle) -> int | None:
    return (further.port or entity.port) if further.listens else None


def _caller_row(peers: Peers, entity: Entity, peer: Peer) -> PeerRow:
    sources = peer.sources
    if peer.role == "prober" and peer.ae_title == entity.verify.calling:
        sources = tuple(dict.fromkeys((*sources, *probing_host(peers.inventory, entity))))
    return PeerRow(Direction.CALLS_BOX, peer.ae_title, sources, None, peer.services, entity.tls is not None, peer.role)


def probing_host(inventory: Inventory, entity: Entity) -> tuple[str, ...]:
    """The address of the host that asks this entity in the controller's place (`verify.from`), if one does."""
    host = inventory.hosts.get(entity.verify.probe_from or "")
    return (host.address,) if host else ()


def _called_rows(peers: Peers, entity: Entity, peer: Peer) -> Iterable[PeerRow]:
    """Where a peer is called: one row a port, its virtual addresses together."""
    places: dict[int | None, list[str]] = {}
    for address, port in called_places(peers, entity, peer) or ((None, peer.port),):
        places.setdefault(port, []).extend([address] if address else [])
    for port, addresses in places.items():
        yield PeerRow(Direction.IS_CALLED, peer.ae_title, tuple(addresses), port, peer.services, peer.tls)


def called_places(peers: Peers, entity: Entity, peer: Peer) -> tuple[tuple[str, int], ...]:
    """Every address and port at which `entity` calls a peer; a further title may have a port of its own."""
    if peer.entity is None or peer.port is None:
        return ()
    further = next((also for also in peer.entity.also if also.ae_title == peer.ae_title), None)
    own_port = further.port if further else None
    found = peers.destinations_of(peer.entity, entity.site) or ((peer.address or "", peer.port),)
    return tuple(dict.fromkeys((address, own_port or port) for address, port in found))


def _report_row(peer: Peer) -> PeerRow:
    """Where the box reports a commitment to: the very title that asked for it."""
    return PeerRow(
        Direction.IS_CALLED, peer.ae_title, (peer.address,) if peer.address else (), peer.port, (COMMITMENT,), peer.tls
    )


def _reporter_row(peers: Peers, entity: Entity, peer: Peer) -> PeerRow:
    """Where the box is told of a commitment from: each instance of the one it asked."""
    sources = peers.sources_of(peer.entity, entity.site) if peer.entity else ()
    return PeerRow(Direction.CALLS_BOX, peer.ae_title, sources, None, (COMMITMENT,), entity.tls is not None)


def _merge(rows: Iterable[PeerRow], entity: Entity) -> list[PeerRow]:
    """One row a title and place: the services of several flows, and of reports, together."""
    merged: dict[tuple[Any, ...], PeerRow] = {}
    for row in rows:
        key = (row.direction, row.ae_title, row.addresses, row.port, row.tls)
        known = merged.get(key, row)
        merged[key] = replace(known, services=tuple(sorted({*known.services, *row.services})))
    return [replace(row, as_titles=_as_titles(entity, row)) for row in merged.values()]


def _as_titles(entity: Entity, row: PeerRow) -> tuple[str, ...]:
    if not entity.also:
        return ()
    called = row.direction is Direction.CALLS_BOX
    found = (title for service in row.services for title in titles_for(entity, service, called=called))
    return tuple(dict.fromkeys(found))


def _row_key(row: PeerRow) -> tuple[str, str, tuple[str, ...], int]:
    return (str(row.direction), row.ae_title, row.addresses, row.port or 0)
