"""The sudo rule that lets fleet's user do its work on a host; why it is this one: docs/decisions."""

from fleet.errors import HostError
from fleet.inventory.model import Host
from fleet.push.address import check_ssh_words

BECOME_COMMAND = "sudo -n -- /bin/sh -s"
PLAIN_COMMAND = "/bin/sh -s"


def format_sudoers(host: Host) -> str:
    """The text for /etc/sudoers.d/fleet on this host, for `visudo -c`; a comment where none is needed."""
    check_ssh_words(host)
    user = host.ssh.user
    if user == "ALL":  # sudoers(5): everybody
        raise HostError(f"{host.name}: a rule for the user ALL would be one for everybody", phase="plan")
    if host.ssh.become != "sudo" or user == "root":
        return f"# {host.name}: fleet logs in as {user} and uses no sudo; no rule is needed.\n"
    return (
        f"# {host.name}: for /etc/sudoers.d/fleet (mode 0440; try it with `visudo -cf FILE` first).\n"
        "# One command with fixed words, as root only, no password, no terminal. What fleet writes is run by\n"
        f"# root anyway (units, scripts, handlers), so this is root: guard the SSH key of {user} as such.\n"
        f"Defaults:{user} !requiretty\n"
        f"{user} ALL=(root) NOPASSWD: {PLAIN_COMMAND}\n"
    )
