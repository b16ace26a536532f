"""The real parsers prove the renderers: an archive with 500 peers admits exactly those that the inventory allows."""

import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.lab.dialogue import Caller, call_all
from tests.lab.hospital import ARCHIVE_PORT, PACS_FILE, SERVICE_PORT, VIRTUAL_ADDRESS, Hospital
from tests.lab.hosts import LabHost

COUNT = 500
MEMBERS = ("10.20.0.11", "10.20.0.12")
# What dcmqrscp's file can carry beyond letters, digits and underscores, one for each of some peers.
ODD = "!#$%&*+-./:;<>?@[]^`{|}~"
STRANGER_ADDRESS = "10.21.9.9"


def make_peers() -> list[Caller]:
    """500 titles, short and of all 16 characters, alike in their beginnings; each has its own address."""
    peers = []
    for number in range(COUNT):
        title = f"PEER_{number}"
        if number % 5 == 1:
            title = f"PEER_{number:03}_LONGER_X"[:16]
        if number < len(ODD):
            title = f"P{ODD[number]}R_{number}"
        if number % 7 == 3:
            title = title.lower()
        peers.append(Caller(title, f"10.21.{number // 250}.{number % 250 + 1}"))
    return peers


PEERS = make_peers()
ADDRESSES = [peer.source for peer in PEERS]


def make_strangers() -> list[Caller]:
    """A hundred that nobody allowed, though most look as if somebody had."""
    words = ["ANY", "any", "BEGIN", "END", "HostTable", "AETable", "VendorTable", "fleet_callers", "callers", "RW",
             "*", "", "PEER_", "PEER", "NORTH_PACS", "SOUTH_STORE", "ae_PEER_0/1", "VENDOR_BOX", "INTRUDER",
             "FLEET_STRANGER"]  # fmt: skip
    near = [f"{peer.calling[:15]}x" for peer in PEERS[30:70]] + [peer.calling[:-1] for peer in PEERS[1:30]]
    known = {peer.calling for peer in PEERS}
    turned = [peer.calling.swapcase() for peer in PEERS[30:70]]
    titles = sorted({title for title in words + near + turned if title not in known})
    return [Caller(title, ADDRESSES[number]) for number, title in enumerate(titles[:100])]


STRANGERS = make_strangers()
# The right title from another's address: the server itself tells them apart, a proxy in front of it cannot.
MASKED = [Caller(peer.calling, ADDRESSES[(number + 1) % COUNT]) for number, peer in enumerate(PEERS[:40])]
OUTSIDERS = [Caller(peer.calling, STRANGER_ADDRESS) for peer in PEERS[100:140]]
WRONG_CALLED = [Caller(peer.calling, peer.source, "NORTH_PAC") for peer in PEERS[200:210]]


@pytest.fixture
def crowd(hospital: Hospital) -> Iterator[LabHost]:
    """One machine with all the peers' addresses, behind a route: 500 neighbours would fill the kernel's table."""
    host = hospital.lab.add_host("crowd", "10.20.5.1")
    lines = "".join(f"address add {address}/32 dev lo\n" for address in [*ADDRESSES, STRANGER_ADDRESS])
    host.run("ip -batch -", stdin=lines, check=True)
    for name in ("north-pacs-1", "north-pacs-2"):
        hospital.lab[name].run(f"ip route replace 10.21.0.0/16 via {host.address}", check=True)
    yield host
    for name in ("north-pacs-1", "north-pacs-2"):
        hospital.lab[name].run("ip route delete 10.21.0.0/16")
    hospital.lab.remove_host("crowd")


def write_inventory(hospital: Hospital, peers: Sequence[Caller]) -> None:
    rows = "".join(
        f'  - {{ae_title: "{peer.calling}", kind: modality, modality: CT, address: {peer.source}, listens: false}}\n'
        for peer in peers
    )
    hospital.add("peers.yml", f"site: crowd\nentities:\n{rows}")


def test_an_archive_with_500_peers_admits_every_one_of_them_and_nobody_else(
    hospital: Hospital, crowd: LabHost, remark: Callable[[str], None]
) -> None:  # T02 T03 T16
    assert len({peer.calling for peer in PEERS}) == COUNT
    assert len({stranger.calling for stranger in STRANGERS}) == 100
    write_inventory(hospital, PEERS)
    done = hospital.apply()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    lines = hospital.lab["north-pacs-1"].read_file(PACS_FILE).splitlines()
    assert max(map(len, lines)) < 400, "dcmqrscp cuts lines of 512 bytes and takes the rest for a row"

    started_at = time.monotonic()
    for address in MEMBERS:
        place = (address, ARCHIVE_PORT)
        admitted = call_all(crowd, PEERS, place)
        assert {peer: said for peer, said in admitted.items() if said != "answered"} == {}
        refused = call_all(crowd, STRANGERS + MASKED + OUTSIDERS + WRONG_CALLED, place)
        assert {caller: said for caller, said in refused.items() if not said.startswith("rejected")} == {}
    place = (VIRTUAL_ADDRESS, SERVICE_PORT)
    admitted = call_all(crowd, PEERS, place)
    assert {peer: said for peer, said in admitted.items() if said != "answered"} == {}
    refused = call_all(crowd, STRANGERS + OUTSIDERS + WRONG_CALLED, place)
    assert {caller: said for caller, said in refused.items() if said == "answered"} == {}
    remark(f"{COUNT} peers and more than a hundred others, three ways, in {time.monotonic() - started_at:.0f} s")
