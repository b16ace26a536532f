"""What is offered at a login: private keys from files, their certificates, and an agent's keys."""

import base64
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleet.errors import NetworkError
from fleet.push.connection import Deadline
from fleet.push.ssh.hops import Hop
from fleet.push.ssh.library import paramiko

_MAX_KEYS = 6  # sshd's MaxAuthTries; more offers than that close the door
_CERTIFICATE = b"-cert-v01@openssh.com"


@dataclass(frozen=True, slots=True)
class Offer:
    """A key, by the name under which a message tells it, and perhaps with a certificate of it."""

    name: str
    key: paramiko.PKey
    certificate: paramiko.pkey.PublicBlob | None = None


@dataclass(slots=True)
class Offers:
    """What is tried, in order; `passed_over` says why a file is not among it."""

    offers: list[Offer] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def list_offers(hop: Hop, agent_keys: Sequence[paramiko.PKey]) -> Offers:
    """Keys that somebody named, the agent's others, the usual files; each certificate before its plain key.

    NetworkError for a file that the inventory names and that cannot be used.
    """
    identities, found = hop.identities, Offers()
    files: list[tuple[str, paramiko.PKey]] = []
    for path in identities.files:
        try:
            files.append((str(path), _read_key(path, agent_keys, hop.where)))
        except NetworkError as error:
            if identities.demanded:
                raise
            found.passed_over.append(str(error).removeprefix(f"{hop.where}: "))
    named = {key.asbytes() for _, key in files}
    others = [
        (f"agent key {key.get_name()}", key)
        for key in agent_keys
        if (not identities.only or _is_certificate_of(key, named)) and key.asbytes() not in named
    ]
    for name, key in (*files, *others) if identities.named else (*others, *files):
        found.offers += _with_certificates(name, key, identities.certificates)
    del found.offers[_MAX_KEYS:]
    return found


def _with_certificates(name: str, key: paramiko.PKey, certificates: Sequence[Path]) -> Iterator[Offer]:
    """The key with each certificate that is one of it, then the key by itself."""
    beside = getattr(key, "public_blob", None)
    if beside is not None:  # `-cert.pub` beside the file, which paramiko takes up by itself
        yield Offer(f"{name} with its certificate", key, beside)
    for path in certificates:
        certificate = _read_certificate(path)
        if certificate is not None and _certifies(certificate.key_blob, key.asbytes()):
            yield Offer(f"{name} with {path}", key, certificate)
    yield Offer(name, key)


def _read_certificate(path: Path) -> paramiko.pkey.PublicBlob | None:
    try:
        return paramiko.pkey.PublicBlob.from_file(str(path))
    except (OSError, ValueError, paramiko.SSHException):
        return None


def _certifies(certificate: bytes, key: bytes) -> bool:
    """Whether a certificate (PROTOCOL.certkeys: type, nonce, the key's own parts, more) is one of a key."""
    kind, parts = _take_string(certificate)
    _nonce, parts = _take_string(parts)
    plain_kind, plain_parts = _take_string(key)
    return kind == plain_kind + _CERTIFICATE and bool(plain_parts) and parts.startswith(plain_parts)


def _take_string(blob: bytes) -> tuple[bytes, bytes]:
    """The first string of a blob (RFC 4251 section 5), and the rest."""
    size = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + size], blob[4 + size :]


def _is_certificate_of(key: paramiko.PKey, named: set[bytes]) -> bool:
    """Whether the agent holds it as the certificate of a key that is named."""
    return any(_certifies(key.asbytes(), each) for each in named)


def _read_key(path: Path, agent_keys: Sequence[paramiko.PKey], where: str) -> paramiko.PKey:
    """A private key; one with a passphrase, or of which only the public half lies here, is looked for in the agent."""
    try:
        key: paramiko.PKey = paramiko.PKey.from_path(path)
    except Exception as error:  # the crypto library's own families
        blob = _read_public_blob(path)
        for candidate in agent_keys:
            if blob is not None and candidate.asbytes() == blob:
                return candidate
        if isinstance(error, FileNotFoundError):
            raise NetworkError(f"{where}: identity file {path} does not exist", phase="login") from error
        raise NetworkError(
            f"{where}: identity file {path} cannot be used ({error}); fleet asks for no "
            "passphrase: load it in an agent",
            phase="login",
        ) from error
    return key


def _read_public_blob(path: Path) -> bytes | None:
    for candidate in (path, Path(f"{path}.pub")):
        try:
            words = candidate.read_text("ascii").split()
            return base64.b64decode(words[1], validate=True)
        except (OSError, ValueError, IndexError):
            continue
    return None


class Agent(paramiko.agent.AgentSSH):
    """A running ssh-agent, by its socket's path; it may ask its owner, but not for ever."""

    def __init__(self, path: str, deadline: Deadline) -> None:
        super().__init__()
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(max(deadline.left_s, 0.001))
        try:
            stream.connect(path)
            self._connect(stream)  # type: ignore[attr-defined] # the stubs know no private names
        except BaseException:
            stream.close()
            raise

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined] # as above


def open_agent(path: str | None, deadline: Deadline) -> Agent | None:
    """The agent, or None where there is none: then files have to do."""
    if path is None:
        return None
    try:
        return Agent(path, deadline)
    except (OSError, paramiko.SSHException):
        return None
