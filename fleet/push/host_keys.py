"""Which host key is trusted: the pinned ones of the inventory, else those of a known_hosts file. Pure.

Nothing is learned on first use and nothing is ever overwritten. One bad line of a known_hosts file costs
that line only (T21); the format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
"""

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public key as a host shows it."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode("ascii").rstrip("=")

    @property
    def line(self) -> str:
        """As it is pinned in an inventory."""
        return f"{self.kind} {base64.b64encode(self.blob).decode('ascii')}"

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """What is known of one host; `pinned` in the inventory outweighs `known` from a file."""

    pinned: tuple[HostKey, ...] = ()
    known: tuple[HostKey, ...] = ()
    revoked: tuple[HostKey, ...] = ()

    @property
    def trusted(self) -> tuple[HostKey, ...]:
        """The keys that let us go on."""
        return self.pinned or self.known


def parse_host_key(text: str) -> HostKey:
    """A key from `kind base64 [comment]`; ValueError says what is wrong."""
    words = text.split()
    if len(words) < 2 or words[0] not in _KINDS:
        raise ValueError(f"no host key: write `kind base64`, kind being one of {', '.join(_KINDS)}")
    try:
        blob = base64.b64decode(words[1], validate=True)
    except binascii.Error as error:
        raise ValueError("no host key: the second word is no base64") from error
    # RFC 4253 section 6.6: the blob begins with its own kind.
    if blob[:4] != len(words[0]).to_bytes(4, "big") or blob[4 : 4 + len(words[0])] != words[0].encode():
        raise ValueError(f"no host key: the base64 is not one of a {words[0]}")
    return HostKey(words[0], blob)


def find_known_keys(pinned: Sequence[str], known_hosts: str, names: Sequence[str]) -> KnownKeys:
    """Everything known of a host; a pinned key that cannot be read raises ValueError, a known one is left out."""
    known: list[HostKey] = []
    revoked: list[HostKey] = []
    for marker, key in _read_known_hosts(known_hosts, [name.lower() for name in names]):
        if marker == "@revoked":
            revoked.append(key)
        elif not marker:
            known.append(key)
    return KnownKeys(tuple(parse_host_key(text) for text in pinned), tuple(known), tuple(revoked))


def check_host_key(presented: HostKey, known: KnownKeys, name: str) -> str | None:
    """Why we do not go on, or None: no command, no login, nothing is sent after this sentence."""
    if presented in known.revoked:
        others = ", ".join(str(key) for key in known.trusted if key not in known.revoked)
        expected = f"; expected {others}" if others else ""
        return f"{name} presented {presented}, which known_hosts marks as revoked{expected}: nothing was sent to it"
    if presented in known.trusted:
        return None
    if not known.trusted:
        return (
            f"unknown host key: {name} presented {presented}, and no key is pinned for it; compare it with the "
            "host's own (`fleet trust` shows it again) and pin it under host_keys"
        )
    expected = ", ".join(str(key) for key in known.trusted)
    return (
        f"the host key changed: {name} presented {presented}, expected {expected}; nothing was sent to it. "
        "Somebody may stand between, or the host was installed anew: ask, then pin the new key"
    )


def _read_known_hosts(text: str, names: Sequence[str]) -> Iterator[tuple[str, HostKey]]:
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        # Most lines are of other hosts: their keys are not looked at.
        if not words or not any(_matches(words[0], name) for name in names):
            continue
        try:
            yield marker, parse_host_key(" ".join(words[1:3]))
        except ValueError:
            continue


def _matches(patterns: str, name: str) -> bool:
    found = False
    for pattern in patterns.split(","):
        if pattern.startswith("|1|"):
            found = found or _matches_hash(pattern, name)
        elif pattern.startswith("!"):
            if _fits(pattern[1:], name):
                return False
        else:
            found = found or _fits(pattern, name)
    return found


def _fits(pattern: str, name: str) -> bool:
    if "*" not in pattern and "?" not in pattern:
        return pattern.lower() == name
    return fnmatch.fnmatchcase(name, _as_glob(pattern))


def _as_glob(pattern: str) -> str:
    """known_hosts knows `*` and `?` only: a bracket stands for itself."""
    return pattern.lower().replace("[", "[[]")


def _matches_hash(pattern: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in pattern.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
