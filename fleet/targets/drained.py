"""Where a host is told that a member of a virtual service is out of it for the time of a change.

All of it lies below /run: a restart ends a drain, as the host's own timer does when nobody else ends it, for a host
that serves is the safe end. `disabled` in haproxy.cfg itself would be drift, would be lost in the very change that it
is for, and would outlive a restart; HAProxy reads the state of its servers from a file of its own at each reload.
keepalived watches the folder of a tracked file (inotify), which has to be there when it starts: so that one file lies
in /run itself.
"""

from typing import Final

FOLDER: Final = "/run/fleet-drain"
SERVERS_PATH: Final = f"{FOLDER}/haproxy-servers"
ADDRESS_PREFIX: Final = f"{FOLDER}/address"  # with `.` and a member's address: the health check says that it is down
MEMBER_PATH: Final = "/run/fleet-drained"


def format_server_state(service: str, server: str) -> str:
    """A line of HAProxy's server-state file, version 1: running, in forced drain (0x08); by names only.

    Whatever else it could tell (addresses, ports, weights) stays as the configuration says.
    """
    return f"0 {service} 0 {server} - 2 8 1 1 0 6 3 4 6 0 0 0 - 0 - 0 0 - - 0"
