"""`fleet trust HOST`: a host's key fingerprints, to compare and to pin."""

from dataclasses import replace

import click

from fleet.cli.connect import read_ssh_options, tell_remarks
from fleet.cli.door import Door, door
from fleet.inventory.select import find_host
from fleet.workflow.reading import read_all


@click.command("trust")
@door(outputs=("text",), limited=False, contacts=True)
@click.argument("host")
@click.option("--timeout", type=click.FloatRange(0.1, 600), default=10.0, show_default=True, help="Seconds.")
def command(door: Door, host: str, timeout: float) -> int:
    """Show the keys that HOST presents now, and the lines that pin them in the inventory.

    Nothing is logged in to and nothing is stored: compare a fingerprint with the one on the host's own
    console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then paste the line.
    """
    from fleet.push.ssh.connector import fetch_host_keys  # loads paramiko

    inventory = read_all(door.context()).inventory
    known = find_host(inventory, host)
    remarks: dict[str, None] = {}
    options = read_ssh_options(door.ssh_config, lambda text: remarks.update({text: None}))
    keys = fetch_host_keys(replace(known, host_keys=()), deadline_s=timeout, hosts=inventory.hosts, options=options)
    tell_remarks(door, remarks)
    pinned = {" ".join(line.split()[:2]) for line in known.host_keys}
    for key in keys:
        mark = "pinned" if key.line in pinned else "not pinned"
        door.tell(f"{key.fingerprint}  {key.kind}  {mark}")
    door.tell("\nhost_keys:\n" + "\n".join(f'  - "{key.line}"' for key in keys))
    strangers = [line for line in pinned if line not in {key.line for key in keys}]
    if strangers and not pinned & {key.line for key in keys}:
        door.remark(f"fleet: {host} presents none of its pinned keys: it was reinstalled, or it is another machine")
        return 2
    return 0
