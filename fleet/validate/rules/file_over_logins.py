"""A team's file does not lie over what decides who may log in: a wrong line there locks everybody out, us too."""

from collections.abc import Iterator
from typing import Final

from fleet.errors import EmptySelection, Problem
from fleet.inventory.model import Host, TeamFile
from fleet.validate.context import Context, error, few

CODES = ("file-over-logins",)
WAIVABLE = CODES

# passwd(5), shadow(5), group(5), gshadow(5), sudoers(5), sshd_config(5).
_FILES: Final = frozenset(
    {
        *("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/sudoers", "/etc/sudo.conf"),
        *("/etc/ssh/sshd_config", "/etc/nsswitch.conf", "/etc/security/access.conf", "/etc/nologin"),
    }
)
_FOLDERS: Final = ("/etc/sudoers.d/", "/etc/ssh/sshd_config.d/", "/etc/pam.d/", "/root/.ssh/")


def check(context: Context) -> Iterator[Problem]:
    """Every file of the team's, on the hosts where it would lie."""
    for file in context.inventory.files:
        hosts = _hosts_of(context, file)
        users = sorted({host.ssh.user for host in hosts if _is_of_login(file.path, host)})
        if file.path in _FILES or file.path.startswith(_FOLDERS) or users:
            whose = f" (fleet logs in as {few(users)})" if users else ""
            text = (
                f"{file.path} decides who may log in or become root{whose}, and fleet would write it whole: one wrong"
                f" line locks everybody out of {few([host.name for host in hosts]) or 'its hosts'}, fleet too, and no"
                " check of ours looks into it; leave it to whoever sets the hosts up, or waive this"
            )
            yield error(CODES[0], text, file.at("path"), about=tuple(host.name for host in hosts))


def _hosts_of(context: Context, file: TeamFile) -> tuple[Host, ...]:
    try:
        return context.selectors.hosts(file.where)
    except EmptySelection:
        return ()  # told by another rule


def _is_of_login(path: str, host: Host) -> bool:
    """Whether it lies in the .ssh folder of the user that fleet logs in as, wherever homes are."""
    return path.split("/")[-3:-1] == [host.ssh.user, ".ssh"]
