"""Inventories for tests: typed as a user types them, loaded as fleet loads them."""

from dataclasses import dataclass
from pathlib import Path

from fleet.documents.files import read_documents
from fleet.errors import Problem
from fleet.inventory.load import load_inventory
from fleet.inventory.model import Inventory
from fleet.inventory.peers import Peers
from fleet.render.artifacts import RenderedFile, RenderedHost, make_program
from fleet.render.hosts import render_fleet
from fleet.secrets.vault import Vault
from fleet.targets.products import check_targets
from fleet.validate import schema

# Stands for the relay's program, whose bytes change with every line of the relay.
PROGRAMS = {"fleet-relay.pyz": make_program(b"#!/usr/bin/env python3\n\0a stand-in\n")}
EXAMPLE = Path(__file__).parents[1] / "cases" / "render" / "example" / "inventory"


@dataclass(frozen=True)
class Built:
    """An inventory with its derived tables."""

    inventory: Inventory
    peers: Peers
    folder: Path

    def render(self, template_folder: Path | None = None) -> dict[str, RenderedHost]:
        """Every host; problems are the test's failure."""
        rendered, problems = render_fleet(
            self.inventory, self.peers, template_folder=template_folder, programs=PROGRAMS
        )
        assert problems == (), [str(problem) for problem in problems]
        return rendered

    def render_problems(self, template_folder: Path | None = None) -> list[str]:
        """What rendering refuses, as a user reads it."""
        found = render_fleet(self.inventory, self.peers, template_folder=template_folder, programs=PROGRAMS)
        return [str(problem) for problem in found[1]]

    def file(self, host: str, path: str) -> RenderedFile:
        """One rendered file."""
        found = {file.path: file for file in self.render()[host].files}
        return found[path]

    def target_problems(self) -> list[Problem]:
        """What the products of the inventory cannot carry."""
        return list(check_targets(self.inventory, self.peers))


def read_inventory(folder: Path, vault: Vault | None = None) -> Built:
    """An inventory's folder; anything wrong with it is the test's failure."""
    keys = schema.text_keys("inventory")
    read, problems = read_documents(folder, keys, vault)
    broken = {}
    for document in read.documents:
        found, broken[document.path] = schema.check_document(document, "inventory")
        problems += found
    loaded = load_inventory(read, broken)
    assert not [*problems, *loaded.problems], [str(problem) for problem in (*problems, *loaded.problems)]
    return Built(loaded.inventory, Peers(loaded.inventory), folder)


def build(folder: Path, text: str, vault: Vault | None = None, **beside: str) -> Built:
    """An inventory of one file; `beside` are further files, `__` standing for a dot in their names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fleet.yml").write_text(text, encoding="utf-8")
    for name, content in beside.items():
        path = folder / name.replace("__", ".")
        path.write_text(content, encoding="utf-8")
    return read_inventory(folder, vault)


ARCHIVE = """\
fleet: {name: test}
site: north
hosts:
  h1: {address: 127.0.0.1}
probers:
  - {ae_title: FLEET_SCU, addresses: [127.0.0.1]}
entities:
  - ae_title: ARCHIVE
    kind: archive
    provides: [verification, storage, query-retrieve]
    instances: [{host: h1, port: 11112}]
    run: {engine: dcmqrscp, storage_area: /var/lib/dcmtk/ARCHIVE, access: RW, max_studies: 100,
          max_bytes_per_study: 512mb, deletes_oldest: accepted}
"""
RECEIVER = """\
fleet: {name: test}
site: north
hosts:
  h1: {address: 127.0.0.1}
entities:
  - ae_title: RECEIVER
    kind: archive
    provides: [verification, storage]
    instances: [{host: h1, port: 11112}]
    run: {engine: storescp, storage_area: /var/lib/dcmtk/RECEIVER}
"""
FLOW = """\
flows:
  - {from: "kind=workstation", to: ARCHIVE, services: [query-retrieve, storage]}
"""


def quote_yaml(text: str) -> str:
    """A text as a double-quoted YAML scalar."""
    return '"' + "".join(f"\\x{ord(each):02x}" if ord(each) < 256 else f"\\u{ord(each):04x}" for each in text) + '"'


def archive_with_callers(titles: dict[str, str], port: int = 11112) -> str:
    """An archive and workstations by title and address."""
    rows = "".join(
        f"  - {{ae_title: {quote_yaml(title)}, name: w{number}, kind: workstation, address: {address}, port: 104, "
        "provides: [verification, storage]}\n"
        for number, (title, address) in enumerate(titles.items())
    )
    return ARCHIVE.replace("11112", str(port)) + rows + FLOW
