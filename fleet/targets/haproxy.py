"""HAProxy 2.x: TCP in front of DICOM, with a whole C-ECHO as its check.

Its reader splits lines at blanks, knows `#`, quotes, backslashes and `$` in double quotes; at most 64 words and
2,048 bytes a line. Only plain words pass here, lists are split over lines.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

from fleet.dicom.ae_title import MAX_CHARACTERS
from fleet.dicom.dimse import IMPLICIT_VR_LITTLE_ENDIAN_UID, VERIFICATION_UID, EchoRQ
from fleet.dicom.items import (
    ImplementationClassUID,
    MaximumLength,
    PresentationContextRQ,
    UserInformation,
)
from fleet.dicom.pdu import AssociateRQ, DataTF, PresentationDataValue, ReleaseRQ
from fleet.errors import Problem
from fleet.inventory.model import Entity, Instance, Inventory, VirtualService
from fleet.targets.file_check import FileCheck
from fleet.targets.refusal import cannot_carry, unfit

TARGET = "haproxy"
PROGRAM = "/usr/sbin/haproxy"
UNIT = "haproxy.service"
PATH = "/etc/haproxy/haproxy.cfg"
MAX_LINE_BYTES = 1900  # its own limit is 2,048
WORDS_A_LINE = 24  # its own limit is 64 words a line; a pattern has up to 78 bytes
# A UID of the UUID-derived kind (PS3.5 annex B.2), made once for the checks that this program renders.
CHECK_CLASS_UID = "2.25.317328850477010045268316876156877959864"
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+*\[\]-]+", re.ASCII)

CHECK = FileCheck(
    "haproxy -c",
    """\
command -v /usr/sbin/haproxy >/dev/null || { echo 'haproxy is not on this host'; exit 75; }
timeout -k 1 20 /usr/sbin/haproxy -c -f "$1" >"$2/said" 2>&1
status=$?
if [ "$status" -ne 0 ]; then
  sed -n -e 's#'"$1"'#haproxy.cfg#g' -e 's#.*\\[ALERT\\][^:]*: *#haproxy: #p' "$2/said" | head -n 10
fi
if [ "$status" -ge 124 ]; then exit 75; fi
exit "$status"
""",
)


def quote(value: object) -> str:
    """One plain word."""
    text = str(value)
    if not _PLAIN.fullmatch(text):
        raise unfit(TARGET, f"the value {text!r}", "only plain words pass: letters, digits and _ . : / @ + * [ ] -")
    return text


def make_endpoint(address: str, port: int) -> str:
    """Address and port in one word; IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def make_server_name(entity: Entity, instance: Instance) -> str:
    """What a member is called: its host, and its port where two of them stand on one host."""
    alone = sum(1 for each in entity.instances if each.host == instance.host) == 1
    return instance.host if alone else f"{instance.host}.{instance.port}"


def encode_check(calling: str, called: str) -> tuple[str, str, str]:
    """What the check sends, as hex: A-ASSOCIATE-RQ, C-ECHO-RQ, A-RELEASE-RQ (PS3.8 9.3, PS3.7 9.3.5)."""
    context = PresentationContextRQ(1, VERIFICATION_UID, (IMPLICIT_VR_LITTLE_ENDIAN_UID,))
    information = UserInformation((MaximumLength(16384), ImplementationClassUID(CHECK_CLASS_UID)))
    associate = AssociateRQ(called, calling, (context,), information)
    echo = DataTF((PresentationDataValue(1, EchoRQ(1).encode(), is_command=True, is_last=True),))
    return associate.encode().hex(), echo.encode().hex(), ReleaseRQ().encode().hex()


def make_caller_patterns(ae_title: str, address: str) -> tuple[str, ...]:
    """What `address/CALLING` begins with, the calling title of an A-ASSOCIATE-RQ as upper-case hex.

    The field is padded to 16 bytes with spaces (PS3.8 table 9-11); some devices end it with a NUL instead.
    """
    title = ae_title.encode("ascii").hex().upper()
    if len(ae_title) == MAX_CHARACTERS:
        return (f"{address}/{title}",)
    return f"{address}/{title}00", f"{address}/{title}20"


def split_words(words: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Words in lines that its reader takes whole."""
    return tuple(tuple(words[start : start + WORDS_A_LINE]) for start in range(0, len(words), WORDS_A_LINE))


def sort_addresses(addresses: Iterable[str]) -> tuple[str, ...]:
    """Addresses as numbers go, IPv4 first."""

    def order(text: str) -> tuple[int, int]:
        address = ip_address(text)
        return address.version, int(address)

    return tuple(sorted(addresses, key=order))


def is_address(text: str) -> bool:
    """Whether it can be compared with a source address: names are not, HAProxy would look them up once."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def check_service(service: VirtualService, entity: Entity, inventory: Inventory) -> Iterator[Problem]:
    """What HAProxy cannot carry of a virtual service: our DICOM servers hold their port on every address."""
    if service.via != "haproxy":
        return
    for member in entity.instances:
        for other, instance in inventory.instances_by_host.get(member.host, ()):
            if instance.port == service.port and other.engine != "none":
                reason = (
                    f"{other.ae_title} listens there on every address of {member.host}, so HAProxy could not bind "
                    "the virtual one; give the instances another port (11112)"
                )
                yield cannot_carry(
                    TARGET,
                    f"port {service.port} of {service.name} on {member.host}",
                    reason,
                    service.at("port"),
                    also=(instance.location,),
                    subjects=(service.name, other.ae_title),
                )
    if entity.tls is not None:
        reason = "its check and its members speak plain DICOM here, and an entity with tls is never asked plain"
        yield cannot_carry(TARGET, f"tls of {entity.ae_title} behind {service.name}", reason, entity.at("tls"),
                           subjects=(service.name, entity.ae_title))  # fmt: skip
