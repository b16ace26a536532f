"""A host whose key is not pinned, or pinned with a slip, cannot be logged in to.

What is pinned is a public key as RFC 4253 section 6.6 and RFC 8709 section 4 (ssh-ed25519), RFC 5656 section 3.1
(ecdsa-sha2-…) encode it: strings with their lengths ahead, of which the first names the type once more.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping

from fleet.errors import Problem
from fleet.inventory.model import Host
from fleet.validate.context import Context, error, warning

CODES = ("host-key-missing", "host-key-malformed")
WAIVABLE = ("host-key-missing",)

# What people type until they know the key: base64, and the beginning of every key. It is no pinned key yet.
_PLACEHOLDER = "AAAA"
# Strings after the type's name, with the lengths that they may have; None is any but nothing.
_PARTS: Mapping[str, tuple[int | None, ...]] = {
    "ssh-ed25519": (32,),
    "ssh-rsa": (None, None),
    "ecdsa-sha2-nistp256": (8, 65),
    "ecdsa-sha2-nistp384": (8, 97),
    "ecdsa-sha2-nistp521": (8, 133),
}


def check(context: Context) -> Iterator[Problem]:
    """Hosts of ours without `host_keys`, and keys that no host can have."""
    for host in context.inventory.hosts.values():
        pinned = [line for line in host.host_keys if line.split()[1:2] != [_PLACEHOLDER]]
        if not pinned:
            what = "a placeholder for its host key" if host.host_keys else "no pinned host_keys"
            text = (
                f"the host {host.name} has {what}; fleet would refuse to log in, since anybody could"
                f" answer at {host.address}; see its fingerprints with `fleet trust {host.name}` and pin them"
            )
            yield warning("host-key-missing", text, host.location, about=(host.name,))
        for index, line in enumerate(host.host_keys):
            if line in pinned and (reason := explain_key(line)):
                yield _malformed(host, index, reason)


def _malformed(host: Host, index: int, reason: str) -> Problem:
    text = (
        f"a pinned key of the host {host.name} {reason}; no key that it shows could be this one, and fleet would refuse"
        f" to log in; take it again from the host's /etc/ssh/ssh_host_*_key.pub (`fleet trust {host.name}` shows what"
        " it presents)"
    )
    return error("host-key-malformed", text, host.at("host_keys", index), about=(host.name,))


def explain_key(line: str) -> str | None:
    """Why `type base64 [comment]` is no public key; None where it is one."""
    kind, _, rest = line.partition(" ")
    wanted = _PARTS.get(kind)
    if wanted is None:
        return f"is of the type {kind}, which fleet cannot compare (it can {', '.join(_PARTS)})"
    try:
        blob = base64.b64decode(rest.partition(" ")[0], validate=True)
    except binascii.Error:
        return "is no base64: a part of it was cut off or mistyped"
    parts = _split(blob)
    if parts is None or not parts:
        return "is cut off: it holds less than the lengths in it say"
    named = parts[0].decode("ascii", "replace")
    if named != kind:
        return f"is called {kind} and holds a key of the type {named!a}"
    sizes = tuple(len(part) for part in parts[1:])
    fits = len(sizes) == len(wanted) and all(
        size == expected if expected else size for size, expected in zip(sizes, wanted, strict=True)
    )
    if not fits or (kind.startswith("ecdsa-") and parts[1] != kind.rpartition("-")[2].encode()):
        return f"has the name of an {kind} key and not the parts of one"
    return None


def _split(blob: bytes) -> list[bytes] | None:
    """The strings of a key blob (RFC 4251 section 5); None where one is shorter than it says."""
    parts = []
    while blob:
        size = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + size:
            return None
        parts.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return parts
