"""The inventory as Ansible's dynamic inventory reads it: `--list` with `_meta`, and `--host`.

The hosts are those that fleet logs in to; boxes that are only probed are no hosts of Ansible's. Ansible wants
group names that are Python identifiers, so each has a prefix that says what it groups by, and two names that
become the same identifier are kept apart by a number.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fleet.errors import EmptySelection
from fleet.inventory.model import Host, Inventory
from fleet.inventory.select import Selectors, find_host
from fleet.secrets.secret import Secret

_NOT_IDENTIFIER = re.compile(r"[^A-Za-z0-9_]")


def make_ansible_list(inventory: Inventory, selectors: Selectors) -> dict[str, Any]:
    """The answer to `--list`: groups with their hosts, and every host's variables."""
    groups = dict(_name_groups(_groups(inventory, selectors)))
    answer: dict[str, Any] = {
        "_meta": {"hostvars": {name: make_ansible_host(inventory, name) for name in inventory.hosts}}
    }
    answer["all"] = {"children": ["ungrouped", *groups]}
    answer["ungrouped"] = {"hosts": []}
    answer.update({identifier: {"hosts": names} for identifier, names in groups.items()})
    return answer


def make_ansible_host(inventory: Inventory, name: str) -> dict[str, Any]:
    """The answer to `--host`: how Ansible logs in, what runs there, and the host's merged variables.

    Raises `EmptySelection` where there is no such host.
    """
    host = find_host(inventory, name)
    return {**_plain(host.vars), **_login(inventory, host), **_facts(inventory, host)}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Variables as Ansible's inventory plugins read them; a secret stays in the vault's text, for Ansible to open."""
    return {key: _plain_value(value) for key, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Secret):
        return {"__ansible_vault": value.sealed}
    if isinstance(value, dict):
        return _plain(value)
    return [_plain_value(item) for item in value] if isinstance(value, list) else value


def _login(inventory: Inventory, host: Host) -> dict[str, Any]:
    found: dict[str, Any] = {
        "ansible_host": host.address,
        "ansible_port": host.ssh.port,
        "ansible_user": host.ssh.user,
        "ansible_become": host.ssh.become == "sudo",
    }
    if host.ssh.identity_file:
        found["ansible_ssh_private_key_file"] = host.ssh.identity_file
    if host.ssh.jump:
        found["ansible_ssh_common_args"] = f"-o ProxyJump={','.join(_jump(inventory, jump) for jump in host.ssh.jumps)}"
    return found


def _jump(inventory: Inventory, jump: str) -> str:
    through = inventory.hosts.get(jump)
    return f"{through.ssh.user}@{through.address}:{through.ssh.port}" if through else jump


def _facts(inventory: Inventory, host: Host) -> dict[str, Any]:
    return {
        "fleet_site": host.site,
        "fleet_labels": dict(host.labels),
        "fleet_redundancy_group": host.redundancy_group,
        "fleet_retired": host.retired,
        "fleet_entities": [
            {
                "ae_title": entity.ae_title,
                "kind": entity.kind,
                "engine": entity.engine,
                "address": instance.address,
                "port": instance.port,
            }
            for entity, instance in inventory.instances_by_host.get(host.name, ())
        ],
    }


def _groups(inventory: Inventory, selectors: Selectors) -> Iterator[tuple[str, list[str]]]:
    """Groups by readable name: sites, kinds of what runs there, redundancy groups, and the inventory's own."""
    found: dict[str, list[str]] = {}
    for host in inventory.hosts.values():
        kinds = {entity.kind for entity, _ in inventory.instances_by_host.get(host.name, ())}
        names = [f"site_{host.site}", *(f"kind_{kind}" for kind in sorted(kinds))]
        names += [f"redundancy_{host.redundancy_group}"] if host.redundancy_group else []
        for name in names:
            found.setdefault(name, []).append(host.name)
    yield from sorted(found.items())
    for group in sorted(inventory.groups):
        try:
            yield f"group_{group}", [host.name for host in selectors.hosts(group)]
        except EmptySelection:
            continue  # a group of boxes alone has no hosts


def _name_groups(groups: Iterator[tuple[str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    taken: set[str] = set()
    for name, hosts in groups:
        plain = _NOT_IDENTIFIER.sub("_", name)
        identifier, number = plain, 2
        while identifier in taken:
            identifier, number = f"{plain}_{number}", number + 1
        taken.add(identifier)
        yield identifier, hosts
