"""The way to the hosts, as this user has it: agent, keys, known hosts and ssh_config from the usual places."""

import getpass
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.cli.door import Door
from fleet.inventory.model import Inventory
from fleet.push.transport import Connector

if TYPE_CHECKING:  # loads nothing of paramiko, but a little more than `fleet --help` should
    from fleet.push.ssh.options import SshOptions

_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_SYSTEM = Path("/etc/ssh")


@contextmanager
def open_connector(inventory: Inventory, door: Door) -> Iterator[Connector]:
    """One connection a host, made when it is first needed, all closed at the end."""
    from fleet.push.pool import ConnectionPool, LateConnector  # only verbs that talk to hosts pay

    def make() -> Connector:
        from fleet.push.ssh.connector import SshConnector  # loads paramiko

        return SshConnector(inventory.hosts, options)

    remarks: dict[str, None] = {}
    options = read_ssh_options(door.ssh_config, lambda text: remarks.update({text: None}))
    try:
        with ConnectionPool(LateConnector(make)) as pool:
            yield pool
    finally:
        tell_remarks(door, remarks)


def tell_remarks(door: Door, remarks: dict[str, None]) -> None:
    """What an ssh_config asks for and does not get, once each, when no bars are in the way."""
    if not door.quiet:
        for text in remarks:
            print(f"fleet: warning: {text}", file=sys.stderr)


def read_ssh_options(ssh_config: str | None, remark: Callable[[str], None]) -> "SshOptions":
    """As ssh(1): `-F FILE` stands for the person's and the machine's own file, and `none` for neither."""
    from fleet.push.ssh.config import Person, read_ssh_config
    from fleet.push.ssh.options import SshOptions

    folder = Path.home() / ".ssh"
    person = Person(_who(), Path.home(), dict(os.environ))
    if ssh_config is None:
        files = [path for path in (folder / "config", _SYSTEM / "ssh_config") if path.is_file()]
    else:
        files = [] if ssh_config.lower() == "none" else [Path(ssh_config)]
    return SshOptions(
        home=Path.home(),
        identity_files=tuple(path for name in _KEYS if (path := folder / name).is_file()),
        known_hosts=(folder / "known_hosts", folder / "known_hosts2", _SYSTEM / "ssh_known_hosts"),
        agent_socket=os.environ.get("SSH_AUTH_SOCK"),
        config=read_ssh_config(files, person),
        person=person,
        remark=remark,
    )


def _who() -> str:
    """This user's name, or number where the machine knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
