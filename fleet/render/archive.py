"""The tables of a dcmqrscp archive: whom it admits, from where, and where it sends to.

Each caller has a row for every address that it comes from. A C-MOVE goes to the first row of a title in the
archive's own list, so a peer that may be moved to has the address where it listens as its first row, even
where that is no source of its own (a virtual address, NAT). Behind HAProxy the archive sees the proxy's
address: every caller gets the members' addresses too, after its own, and HAProxy filters who may come.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from fleet.inventory.model import Entity
from fleet.inventory.peers import Peer, Peers
from fleet.targets.dcmqrscp import NO_PORT, NOBODY, Group, HostRow, chain_groups, make_symbol


@dataclass(frozen=True, slots=True)
class Vendor:
    """A row of the VendorTable: peers by the word that dcmtk's own tools show for them."""

    name: str
    symbol: str


@dataclass(frozen=True, slots=True)
class ArchiveTables:
    """HostTable, VendorTable and the group that the AETable names; the same on every member."""

    rows: tuple[HostRow, ...]
    groups: tuple[Group, ...]
    vendors: tuple[Vendor, ...]
    callers_symbol: str
    unlisted: tuple[str, ...]  # callers without a fixed address, which no row could admit


def make_tables(archive: Entity, peers: Peers) -> ArchiveTables:
    """The tables of an archive, from flows, probers and health checks."""
    callers = peers.callers_of(archive)
    destinations = {peer.ae_title: peer for peer in peers.called_by(archive) if "storage" in peer.services}
    numbers: dict[str, int] = defaultdict(int)
    places: set[tuple[str, str]] = set()
    rows: list[HostRow] = []
    sites: dict[str, list[str]] = defaultdict(list)

    def add(title: str, address: str, port: int | None) -> str | None:
        if (title, address) in places:
            return None
        places.add((title, address))
        numbers[title] += 1
        rows.append(HostRow(make_symbol(title, numbers[title]), title, address, port or NO_PORT))
        return rows[-1].symbol

    for peer in callers:
        for address, port in _own_places(peer, peer.ae_title in destinations):
            symbol = add(peer.ae_title, address, port)
            if symbol and peer.entity is not None:
                sites[peer.entity.site].append(symbol)
    for member in proxies_of(archive, peers):
        for peer in callers:
            if peer.sources:
                add(peer.ae_title, member, None)
    admitted = [row.symbol for row in rows] or [_nobody(rows)]
    called = {peer.ae_title for peer in callers}
    for title, peer in destinations.items():
        if title not in called and peer.address is not None:
            add(title, peer.address, peer.port)
    groups = list(chain_groups("callers", admitted))
    whole = groups[-1].symbol
    vendors = []
    for site in sorted(sites):
        of_site = chain_groups(f"site_{site}", sites[site])
        groups += of_site
        vendors.append(Vendor(f"site_{site}", of_site[-1].symbol))
    unlisted = tuple(peer.ae_title for peer in callers if not peer.sources and peer.address is None)
    return ArchiveTables(tuple(rows), tuple(groups), tuple(vendors), whole, unlisted)


def _own_places(peer: Peer, is_destination: bool) -> Iterator[tuple[str, int | None]]:
    """Where a caller listens, if it may be moved to; then where it comes from."""
    if peer.address is not None and (is_destination or "query-retrieve" in peer.services):
        yield peer.address, peer.port
    for source in peer.sources:
        yield source, peer.port


def proxies_of(archive: Entity, peers: Peers) -> tuple[str, ...]:
    """The addresses that associations come from when they came through HAProxy."""
    services = peers.inventory.services_by_entity.get(archive.ae_title, ())
    members = (peers.members_of(service) for service in services if service.via == "haproxy")
    return tuple(dict.fromkeys(address for addresses in members for address in addresses))


def _nobody(rows: list[HostRow]) -> str:
    """An empty list is an error of the file and ANY would admit everybody: a row that matches nobody."""
    title, address = NOBODY
    rows.append(HostRow(make_symbol(title, 1), title, address, NO_PORT))
    return rows[-1].symbol
