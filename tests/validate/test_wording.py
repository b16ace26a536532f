"""A mistake is told once, as it was typed, with advice that helps; each line of this inventory is one mistake."""

from datetime import date
from pathlib import Path

import pytest

from fleet.inventory.peers import Peers
from fleet.validate.check import check_inventory
from fleet.validate.reading import read_inventory

FLEET = """\
fleet: {name: t}
site: a
probers: [{ae_title: FLEET_SCU, addresses: [10.0.0.5]}]
hosts: {h1: {address: 10.0.0.11}}
entities:
  - ae_title: PACS_A
    kind: archive
    provides: [verification, storage, query-retrieve]
    instances: [{host: h1, port: 11112}]
    run: {engine: dcmqrscp, storage_area: /srv/a, access: RW, max_studies: 5, max_bytes_per_study: 1024mb,
      deletes_oldest: accepted}
  - {ae_title: CT, kind: modality, address: 10.0.1.2, listens: false}
"""
FLOWS = "flows: [{from: kind=modality, to: PACS_A, services: [storage]}]\n"


def errors(folder: Path, line: str, flows: str = FLOWS) -> list[str]:
    (folder / "a.yml").write_text(FLEET + line + "\n" + flows, encoding="utf-8")
    reading = read_inventory(folder)
    inventory = reading.loaded.inventory
    found = [*reading.problems, *check_inventory(inventory, Peers(inventory), date(2026, 11, 20))]
    return [problem.message for problem in found if problem.severity == "error"]


def scanner(title: str, address: str = "10.0.1.3") -> str:
    return f"  - {{ae_title: {title}, kind: modality, address: {address}, listens: false}}"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("N\u00d6RTH", "'N\u00d6RTH'"),
        (r"'BACK\SLASH'", r"'BACK\SLASH'"),
        (r'"TAB\tX"', r"'TAB\tX'"),
        ("SEVENTEEN_LETTERS", "'SEVENTEEN_LETTERS'"),
    ],
)
def test_an_illegal_title_is_told_once_and_as_it_was_typed(typed: str, shown: str, tmp_path: Path) -> None:
    (message,) = errors(tmp_path, scanner(typed))
    assert message.startswith(f"the AE title {shown} ")
    assert ("could end a line" in message) == ("TAB" in typed)


def test_a_mistyped_address_is_no_name_as_well(tmp_path: Path) -> None:
    (message,) = errors(tmp_path, scanner("CT_2", "10.20.4.420"))
    assert "looks like an IP address and is none" in message


@pytest.mark.parametrize(
    ("other", "advice"),
    [
        ("listens: false", "let it listen: remove `listens: false` and give it a port"),
        ("port: 104", "add storage to its `provides`"),
    ],
)
def test_a_flow_to_who_does_not_provide_it_gets_advice_that_helps(other: str, advice: str, tmp_path: Path) -> None:
    line = f"  - {{ae_title: CT_2, kind: modality, address: 10.0.1.3, {other}}}"
    (message,) = errors(tmp_path, line, "flows: [{from: PACS_A, to: CT_2, services: [storage]}]\n")
    assert advice in message
