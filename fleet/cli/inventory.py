"""`fleet inventory --list|--host H`: Ansible's dynamic-inventory JSON."""

import json

import click

from fleet.cli.door import Door, door
from fleet.errors import UsageError
from fleet.inventory.ansible import make_ansible_host, make_ansible_list
from fleet.workflow.reading import read_valid


@click.command("inventory")
@door(outputs=("json",), limited=False)
@click.option("--list", "whole", is_flag=True, help="All groups, hosts and their variables.")
@click.option("--host", help="One host's variables.")
def command(door: Door, whole: bool, host: str | None) -> int:
    """Print the inventory as Ansible's dynamic-inventory scripts do."""
    if whole == (host is not None):
        raise UsageError("give either --list or --host HOST")
    reading = read_valid(door.context())
    if host is not None:
        answer = make_ansible_host(reading.inventory, host)
    else:
        answer = make_ansible_list(reading.inventory, reading.selectors)
    door.tell(json.dumps(answer, indent=1, sort_keys=True))
    return 0
