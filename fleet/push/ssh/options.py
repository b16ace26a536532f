"""What the person who runs fleet brings to every connection. No paramiko."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fleet.push.ssh.config import Person, SshConfig


def remark_nothing(_text: str, /) -> None:
    """For callers whose configuration was told elsewhere."""


@dataclass(frozen=True, slots=True)
class SshOptions:
    """Keys, known hosts, an agent's socket, and an ssh_config.

    `identity_files` and the agent serve hosts for which neither the inventory nor `config` names a key; files that
    do not exist are passed over. `home` is what `~` stands for. `remark` is told, once each, what a file asks for
    and is not honoured.
    """

    identity_files: tuple[Path, ...] = ()
    known_hosts: tuple[Path, ...] = ()
    agent_socket: str | None = None
    home: Path | None = None
    config: SshConfig = field(default_factory=SshConfig)
    person: Person = field(default_factory=Person)
    remark: Callable[[str], None] = remark_nothing
