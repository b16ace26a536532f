"""A small hospital with everything that a sheet has to get right, and ways to change it."""

from pathlib import Path

from fleet.documents.strict_yaml import parse_document
from fleet.documents.values import Documents
from fleet.inventory.load import load_inventory
from fleet.inventory.model import Inventory
from fleet.inventory.peers import Peers
from fleet.sheet.boxes import Sheet, make_sheet
from fleet.validate.schema import text_keys

FLEET = """
fleet: {name: mercy, controllers: [10.0.0.5]}
probers:
  - {ae_title: FLEET_SCU, addresses: [10.0.0.5]}
  - {ae_title: NAGIOS, addresses: [10.0.0.9]}
flows:
  - {from: "kind=modality", to: "kind=archive", services: [storage, storage-commitment]}
  - {from: "kind=modality", to: "kind=worklist", services: [worklist]}
  - {from: "kind=workstation", to: "kind=archive", services: [query-retrieve, storage]}
  - {from: PACS, to: TELERAD, services: [storage]}
  - {from: WS01, to: VENDOR_PACS, services: [query-retrieve]}
"""
NORTH = """
site: north
hosts:
  pacs-1:
    address: 10.20.0.11
    host_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"]
  pacs-2:
    address: 10.20.0.12
    ssh: {port: 2222, jump: pacs-1}
    host_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"]
entities:
  - ae_title: PACS
    kind: archive
    provides: [verification, storage, query-retrieve, storage-commitment]
    instances: [{host: pacs-1, port: 11112}, {host: pacs-2, port: 11112}]
    run: {engine: dcmqrscp, storage_area: /var/lib/dcmtk/PACS}
  - ae_title: MWL
    kind: worklist
    provides: [verification, worklist]
    instances: [{host: pacs-1, port: 11113}]
    run: {engine: wlmscpfs, data_files: /var/lib/dcmtk/worklist}
  - {ae_title: VENDOR_PACS, kind: other, address: 10.20.5.1, port: 104, provides: [verification, query-retrieve],
     contact: "the vendor's desk"}
  - {ae_title: CT01, kind: modality, address: 10.20.3.21, port: 104, provides: [verification, storage-commitment],
     description: "emergency room", also: [{ae_title: CT01_WL, listens: false, for: [worklist]}],
     verify: {from: pacs-1}}
  - {ae_title: US01, kind: modality, address: dhcp, listens: false}
  - {ae_title: WS01, kind: workstation, address: 10.20.4.41, port: 11112, provides: [verification, storage]}
virtual_services:
  - name: pacs
    entity: PACS
    addresses: [10.20.0.100/24, {address: 10.20.0.99/24, until: "2027-01-01"}]
    port: 104
    via: haproxy
    vrrp: {interface: eth0, virtual_router_id: 51, priority: {pacs-1: 110, pacs-2: 100}}
    check: {calling: LOADBALANCER}
"""
OUTSIDE = """
site: outside
external: true
entities:
  - {ae_title: TELERAD, kind: other, address: 192.168.7.5, provides: [verification, storage],
     tls: {port: 2762}, seen_as: {north: 203.0.113.5}}
"""


def load(*changes: tuple[str, str]) -> Inventory:
    """The hospital, each change a text and what stands in its place."""
    texts = {"fleet.yml": FLEET, "north.yml": NORTH, "outside.yml": OUTSIDE}
    for before, after in changes:
        assert sum(before in text for text in texts.values()) == 1, before
        texts = {name: text.replace(before, after) for name, text in texts.items()}
    documents = []
    for name, text in texts.items():
        document, problems = parse_document(text.encode(), name, text_keys("inventory"))
        assert not problems
        assert document is not None
        documents.append(document)
    loaded = load_inventory(
        Documents(Path(), tuple(documents), tuple((name, text) for name, text in texts.items())), {}
    )
    assert not loaded.problems
    return loaded.inventory


def sheet(title: str, *changes: tuple[str, str]) -> Sheet:
    """The sheet of one box of it."""
    inventory = load(*changes)
    return make_sheet(Peers(inventory), inventory.by_title[title])
