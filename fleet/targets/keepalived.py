"""keepalived 2.2: VRRP, and LVS with MISC_CHECK.

`#` and `!` begin comments anywhere, `$NAME` and `@id` are its own syntax, an unterminated quote crashes it
and `include` shows any file in an error message: so nothing is quoted here at all, only plain words pass, and
AE titles stay out of its file (the check scripts hold them). `keepalived -t` is asked about a shadow copy.
"""

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from fleet.errors import Problem
from fleet.inventory.model import Entity, VirtualService
from fleet.targets.file_check import FileCheck
from fleet.targets.refusal import cannot_carry, unfit

TARGET = "keepalived"
PROGRAM = "/usr/sbin/keepalived"
UNIT = "keepalived.service"
PATH = "/etc/keepalived/keepalived.conf"
# keepalived.conf(5): who runs the scripts. Not root (T41); they need no right but to open a connection.
SCRIPT_USER = "nobody"
MAX_LINE_BYTES = 900  # a quoted argument of 1,000 bytes crashes its parser
_PLAIN = re.compile(r"[A-Za-z0-9_.:/-]+", re.ASCII)

# 0 is good. 143: up to 2.2.7 it kills itself when a script's user is not root (upstream aae8e910), hence the
# shadow copy; 139: it crashed. Both, and every death by a signal, say nothing about the file. Its own words are
# never printed: for a file that includes another they would be that file's lines.
CHECK = FileCheck(
    "keepalived -t",
    """\
command -v /usr/sbin/keepalived >/dev/null || { echo 'keepalived is not on this host'; exit 75; }
if grep -q '^[[:space:]]*include' "$1"; then echo 'an include line: keepalived would show that file'; exit 1; fi
sed -e 's#^\\([[:space:]]*script_user\\).*#\\1 root#' \\
    -e 's#^\\([[:space:]]*script\\) ".*#\\1 "/bin/true"#' \\
    -e 's#^\\([[:space:]]*misc_path\\) ".*#\\1 "/bin/true"#' "$1" >"$2/shadow.conf" || exit 75
chmod 600 "$2/shadow.conf"
timeout -k 1 20 /usr/sbin/keepalived -t -f "$2/shadow.conf" >"$2/said" 2>&1
status=$?
sed -n 's/.*interface \\([A-Za-z0-9_.-]*\\) for vrrp_instance.*/the interface \\1 is not on this host/p' "$2/said"
sed -n '/WARNING/!s/.*Line \\([0-9][0-9]*\\)).*/keepalived refuses line \\1/p' "$2/said" >"$2/lines"
sort -u -t ' ' -k 4n "$2/lines" | head -n 5
if [ "$status" -ge 124 ]; then
  echo "keepalived -t ended with $status, which says nothing about the file"
  exit 75
fi
exit "$status"
""",
)


def quote(value: object) -> str:
    """One plain word; all else is refused, since no quoting of keepalived.conf is safe."""
    text = str(value)
    if not _PLAIN.fullmatch(text):
        raise unfit(TARGET, f"the value {text!r}", "only letters, digits and _ . : / - are plain in keepalived.conf")
    return text


def check_service(service: VirtualService, entity: Entity) -> Iterator[Problem]:
    """What keepalived cannot carry of a virtual service."""
    if service.vrrp is not None:
        yield from _check_vrrp(service)
    if service.via == "keepalived":
        for instance in entity.instances:
            if instance.address and not _is_address(instance.address):
                yield cannot_carry(
                    TARGET,
                    f"the member address {instance.address!r} of {service.name}",
                    "real_server wants an IP address, not a name",
                    instance.location,
                    subjects=(service.name, entity.ae_title),
                )


def _check_vrrp(service: VirtualService) -> Iterator[Problem]:
    vrrp = service.vrrp
    assert vrrp is not None  # noqa: S101 - the caller looked
    if service.via == "external":
        reason = "the appliance holds the address; two holders of one address answer in turns"
        yield cannot_carry(
            TARGET, f"vrrp of {service.name} via external", reason, vrrp.location, subjects=(service.name,)
        )
    if vrrp.auth_pass and any(":" in address.address for address in service.addresses):
        reason = "VRRP version 3, which IPv6 needs, has no authentication (RFC 5798 section 9)"
        yield cannot_carry(
            TARGET, f"auth_pass of {service.name}", reason, vrrp.at("auth_pass"), subjects=(service.name,)
        )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def make_weight(priorities: Sequence[int]) -> int:
    """By how much a failing check lowers a member: below every healthy one; 0 (a fault) where that cannot be.

    A weight keeps one member holding the address when all of them fail: callers then get an answer that says
    what is wrong, instead of silence. keepalived clamps a priority at 1.
    """
    lowest, highest = min(priorities), max(priorities)
    return 0 if lowest < 2 or len(priorities) < 2 else -(highest - lowest + 1)
