"""The way to the hosts, as this user has it: agent, keys and known hosts from the usual places."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.inventory.model import Inventory
from fleet.push.transport import Connector

_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


@contextmanager
def open_connector(inventory: Inventory) -> Iterator[Connector]:
    """One connection a host, made when it is first needed, all closed at the end."""
    from fleet.push.pool import ConnectionPool  # these two load paramiko: only verbs that talk to hosts pay
    from fleet.push.ssh.connector import SshConnector, SshOptions

    folder = Path.home() / ".ssh"
    options = SshOptions(
        home=Path.home(),
        identity_files=tuple(path for name in _KEYS if (path := folder / name).is_file()),
        known_hosts=(folder / "known_hosts",),
        agent_socket=os.environ.get("SSH_AUTH_SOCK"),
    )
    with ConnectionPool(SshConnector(inventory.hosts, options)) as pool:
        yield pool
