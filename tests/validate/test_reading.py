"""Reading end to end: all problems at once, sorted, and what is broken left out."""

import gc
from pathlib import Path

import pytest

from fleet.errors import Severity, UnreadableFile, count_errors
from fleet.validate.reading import read_inventory
from tests.inventory.reading import read_files, read_text, tell

ROOT = Path(__file__).parents[2]


def test_every_problem_of_every_file_is_told_in_one_go_and_sorted(tmp_path: Path) -> None:
    reading = read_files(
        tmp_path,
        {
            "b.yml": "site: north\nentities:\n  - {ae_title: A, kind: x}\n  - {ae_title: B, kind: other}\n",
            "a.yml": "fleet: {name: a, nam: b}\ngroups: {all: x}\n",
            "c.yml": "hosts: [\n",
        },
    )
    assert tell(reading) == [
        "a.yml:1:18 schema-unknown-key",
        "a.yml:2:15 name-reserved",
        "b.yml:3:25 schema-value",
        "b.yml:4:5 entity-place",
        "c.yml:2:1 yaml-syntax",
    ]
    assert count_errors(reading.problems) == 5


def test_a_broken_entity_is_left_out_its_names_remembered_and_the_rest_loaded(tmp_path: Path) -> None:
    reading = read_text(
        tmp_path,
        """
        site: north
        entities:
          - {ae_title: GOOD, kind: other, address: 10.0.0.1, port: 104}
          - {ae_title: BAD, name: bad, kind: other, prt: 104, also: [{ae_title: BAD_2}, 5]}
        """,
    )
    inventory = reading.loaded.inventory
    assert [entity.ae_title for entity in inventory.entities] == ["GOOD"]
    assert inventory.left_out == {"BAD", "bad", "BAD_2"}
    assert inventory.incomplete


def test_a_broken_default_accuses_nobody_who_relies_on_it(tmp_path: Path) -> None:
    reading = read_text(
        tmp_path,
        """
        fleet: {name: a, defaults: {port: 0104, ssh: {user: me}}}
        site: north
        hosts: {h: {address: 10.0.0.9}}
        entities:
          - {ae_title: A, kind: other, address: 10.0.0.1}
          - {ae_title: B, kind: other, instances: [{host: h}]}
        """,
    )
    assert tell(reading) == ["a.yml:2:35 schema-type"]
    assert reading.loaded.inventory.hosts["h"].ssh.user == "me"
    assert [entity.ae_title for entity in reading.loaded.inventory.entities] == ["A", "B"]


def test_a_file_that_cannot_be_read_as_yaml_makes_the_inventory_incomplete(tmp_path: Path) -> None:
    reading = read_files(tmp_path, {"a.yml": "fleet: {name: a}\n", "b.yml": "{"})
    inventory = reading.loaded.inventory
    assert (inventory.incomplete, inventory.unread) == (True, True)
    whole = read_text(tmp_path / "other", "site: north\n").loaded.inventory
    assert (whole.incomplete, whole.unread) == (False, False)


def test_the_place_of_fleet_is_known_also_where_nothing_else_is_beside_it(tmp_path: Path) -> None:
    reading = read_files(tmp_path, {"a.yml": "fleet: {name: a}\n", "b.yml": "site: north\n"})
    assert str(reading.loaded.inventory.fleet_origin.at("name")).endswith("a.yml:1:15")


def test_no_fleet_is_told_once_and_two_are_told_with_both_places(tmp_path: Path) -> None:
    assert tell(read_files(tmp_path / "none", {"a.yml": "site: a\n"})) == ["a.yml:1:1 fleet-missing"]
    reading = read_files(tmp_path / "two", {"a.yml": "fleet: {name: a}\n", "b.yml": "fleet: {name: b}\n"})
    assert tell(reading) == ["b.yml:1:8 name-duplicate"]
    assert str(reading.problems[0].also[0]).endswith("a.yml:1:8")
    assert reading.loaded.inventory.name == "a"


def test_the_same_files_have_one_digest_wherever_they_lie_and_any_change_another(tmp_path: Path) -> None:
    text = "certificates: {c: {ca_file: ca.pem}}\n"
    roots = [tmp_path / name for name in "abc"]
    for root, pem in zip(roots, ("x", "x", "y"), strict=True):
        root.mkdir()
        (root / "ca.pem").write_text(pem)
    digests = [read_text(root, text).loaded.inventory.digest for root in roots]
    assert digests[0] == digests[1] != digests[2]


def test_reading_leaves_the_collector_as_it_was(tmp_path: Path) -> None:
    read_text(tmp_path, "site: a\n")
    assert gc.isenabled()
    with pytest.raises(UnreadableFile):
        read_inventory(tmp_path / "missing")
    assert gc.isenabled()


# T05
def test_five_thousand_entities_are_read_with_their_places(tmp_path: Path) -> None:
    lines = "".join(
        f"  - ae_title: AE_{number:05}\n    kind: modality\n    address: 10.0.{number // 250}.{number % 250}\n"
        for number in range(5000)
    )
    defaults = "fleet: {name: a, defaults: {kinds: {modality: {port: 104}}}}\n"
    reading = read_text(tmp_path, defaults + "site: north\nentities:\n" + lines)
    assert reading.problems == ()
    assert reading.loaded.inventory.entities[4999].location.line == 3 + 3 * 4999 + 1


def test_the_example_hospital_has_no_errors_and_uses_what_there_is() -> None:
    reading = read_inventory(ROOT / "inventory")
    assert [str(each) for each in reading.problems if each.severity is Severity.ERROR] == []
    inventory = reading.loaded.inventory
    assert 55 <= len(inventory.entities) <= 65
    assert [site.name for site in inventory.sites.values() if site.external] == ["teleradiology"]
    assert len(inventory.sites) == 4
    assert {service.via for service in inventory.virtual_services} == {"haproxy", "keepalived", "external"}
    assert {entity.kind for entity in inventory.entities} >= {"archive", "modality", "relay", "worklist", "printer"}
    assert all(host.host_keys for host in inventory.hosts.values())
