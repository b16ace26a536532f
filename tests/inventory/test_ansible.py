"""What Ansible reads: hosts, groups that are identifiers, variables."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import EmptySelection
from fleet.inventory.ansible import make_ansible_host, make_ansible_list
from fleet.inventory.model import Inventory
from fleet.inventory.select import Selectors
from fleet.secrets.vault import Vault
from fleet.secrets.vault_format import seal_bytes
from fleet.validate.reading import read_inventory
from tests.inventory.reading import read_text

TEXT = """
site: north-1
labels: {code: N}
vars: {answer: 42}
groups: {far-away: "h2", far.away: "h1", boxes: BOX}
hosts:
  h1: {address: 10.0.0.1, redundancy_group: pair, ssh: {user: me, port: 2222, become: sudo}}
  h2: {address: 10.0.0.2, redundancy_group: pair, retired: true, ssh: {jump: h1, identity_file: ~/.ssh/x}}
entities:
  - {ae_title: PACS, kind: archive, instances: [{host: h1, port: 11112, address: 10.1.0.1}]}
  - {ae_title: BOX, kind: other, address: a, port: 1}
"""


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    reading = read_text(tmp_path_factory.mktemp("ansible"), TEXT)
    assert reading.problems == ()
    return reading.loaded.inventory


def members(answer: dict[str, Any]) -> dict[str, list[str]]:
    return {name: group["hosts"] for name, group in answer.items() if name not in ("_meta", "all", "ungrouped")}


def test_groups_are_by_site_kind_redundancy_and_name_and_equal_identifiers_stay_apart(inventory: Inventory) -> None:
    answer = make_ansible_list(inventory, Selectors(inventory))
    assert members(answer) == {
        "kind_archive": ["h1"],
        "redundancy_pair": ["h1", "h2"],
        "site_north_1": ["h1", "h2"],
        "group_far_away": ["h2"],
        "group_far_away_2": ["h1"],
    }
    assert set(answer["all"]["children"]) == {"ungrouped", *members(answer)}


def test_a_host_tells_how_to_log_in_and_what_runs_there(inventory: Inventory) -> None:
    found = make_ansible_host(inventory, "h1")
    assert found["ansible_host"] == "10.0.0.1"
    assert (found["ansible_user"], found["ansible_port"], found["ansible_become"]) == ("me", 2222, True)
    assert found["answer"] == 42
    assert found["fleet_entities"] == [
        {"ae_title": "PACS", "kind": "archive", "engine": "none", "address": "10.1.0.1", "port": 11112}
    ]
    jumping = make_ansible_host(inventory, "h2")
    assert jumping["ansible_ssh_common_args"] == "-o ProxyJump=me@10.0.0.1:2222"
    assert jumping["ansible_ssh_private_key_file"] == "~/.ssh/x"
    assert jumping["fleet_retired"] is True


def test_list_holds_what_host_says(inventory: Inventory) -> None:
    variables = make_ansible_list(inventory, Selectors(inventory))["_meta"]["hostvars"]
    assert variables == {name: make_ansible_host(inventory, name) for name in inventory.hosts}


def test_an_unknown_host_is_an_error(inventory: Inventory) -> None:
    with pytest.raises(EmptySelection, match="no host"):
        make_ansible_host(inventory, "BOX")


def test_the_example_is_json_with_names_that_ansible_takes() -> None:
    inventory = read_inventory(Path(__file__).parents[2] / "inventory").loaded.inventory
    answer = json.loads(json.dumps(make_ansible_list(inventory, Selectors(inventory))))
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in answer)
    assert {host for hosts in members(answer).values() for host in hosts} == set(inventory.hosts)


# T39
def test_a_secret_stays_in_the_vault_s_text_for_ansible_to_open(tmp_path: Path) -> None:
    sealed = seal_bytes(b"canary-4711", b"pw", b"salt")
    lines = "".join(f"          {line}\n" for line in sealed.splitlines())
    text = f"fleet: {{name: f}}\nsite: n\nhosts:\n  h1:\n    address: a\n    vars:\n      a: [1, !vault |\n{lines}"
    text = text.replace("a: [1, !vault |", "a:\n        - !vault |")
    (tmp_path / "a.yml").write_text(text)
    loaded = read_inventory(tmp_path, Vault(lambda: b"pw")).loaded
    found = make_ansible_host(loaded.inventory, "h1")["a"]
    assert found == [{"__ansible_vault": sealed}]
    assert "canary" not in json.dumps(found)
