"""The C-ECHO check script: `SCRIPT VIP VPORT RIP RPORT`, exit 0 for up, 1 for down, 64 for a wrong call.

One script serves appliances (`via: external`), keepalived's VRRP and its MISC_CHECK. It is plain POSIX sh and
calls dcmtk's echoscu by its absolute path. echoscu's exit status is 0 for a failure status and for an abort
of the C-ECHO, and two of its timeouts are unlimited by default: so every timeout is given, a wall clock stands
round it, and only the line that it writes for status 0000 counts.
"""

import math
from collections.abc import Iterator

from fleet.errors import Problem
from fleet.inventory.model import Entity, VirtualService
from fleet.targets.refusal import cannot_carry

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


def check_service(service: VirtualService, entity: Entity) -> Iterator[Problem]:
    """What the script cannot carry: dcmtk's programs read a word that begins with '@' as a file of words."""
    if service.via == "haproxy" and service.vrrp is None:
        return  # no script: HAProxy asks by itself
    if entity.tls is not None:
        reason = "it asks in plain DICOM, and an entity with tls is never asked plain; every member would look dead"
        what = f"tls of {entity.ae_title} behind {service.name}"
        yield cannot_carry(TARGET, what, reason, entity.at("tls"), also=(service.location,), subjects=(service.name,))
    for field, title, at in (
        ("the health check's title", service.check.calling, service.at("check", "calling")),
        ("the called title", entity.ae_title, entity.at("ae_title")),
    ):
        if title.startswith("@"):
            reason = "echoscu reads a word that begins with '@' as the name of a file of further words"
            yield cannot_carry(
                TARGET,
                f"{field} {title!r} of {service.name}",
                reason,
                at,
                also=(service.location,),
                subjects=(service.name,),
            )
    if service.script is not None and service.via != "external":
        reason = "fleet puts its own check on the members; a script is for `via: external`"
        yield cannot_carry(TARGET, f"script of {service.name}", reason, service.at("script"), subjects=(service.name,))
