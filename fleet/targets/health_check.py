"""The C-ECHO check script: `SCRIPT VIP VPORT RIP RPORT`, exit 0 for up, 1 for down, 64 for a wrong call.

One script serves appliances (`via: external`), keepalived's VRRP and its MISC_CHECK. It is plain POSIX sh and
calls dcmtk's echoscu by its absolute path. echoscu's exit status is 0 for a failure status and for an abort
of the C-ECHO, and two of its timeouts are unlimited by default: so every timeout is given, a wall clock stands
round it, and only the line that it writes for status 0000 counts.
"""

import math

from fleet.inventory.model import VirtualService

TARGET = "health_check"
ECHOSCU = "/usr/bin/echoscu"
FOLDER = "/etc/fleet"
# OFFIS prints this line for status 0000 only (echoscu.cc, DU_cechoStatusString).
SUCCESS_LINE = "I: Received Echo Response (Success)"


def make_path(service: VirtualService) -> str:
    """Where the script of a virtual service is kept."""
    if service.via == "external" and service.script is not None:
        return service.script.path
    return f"{FOLDER}/check-{service.name}"


def make_deadline_s(service: VirtualService) -> int:
    """Whole seconds for one check; echoscu and timeout(1) of busybox take no fractions."""
    return max(1, math.ceil(service.check.timeout_s))
