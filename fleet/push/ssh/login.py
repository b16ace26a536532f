"""From a connection to a login: greeting, the host's key, our keys. Nothing is sent before the key is judged.

There is no prompt, no password, and no first-use trust.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleet.errors import FleetError, HostError, NetworkError
from fleet.push.connection import Deadline
from fleet.push.host_keys import HostKey, KnownKeys, check_host_key, find_known_keys
from fleet.push.script import escape_bytes
from fleet.push.ssh.client import Client, watch
from fleet.push.ssh.hops import Hop, list_names
from fleet.push.ssh.keys import Offer, list_offers, open_agent
from fleet.push.ssh.library import paramiko

_SAID = 300  # characters of what a peer said
# RFC 8332: one RSA key, three signature algorithms.
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


class NoSuchKind(FleetError):
    """The host has no key of that kind."""


@dataclass(slots=True)
class Login:
    """The last transport of a chain on its way from connected to logged in."""

    hop: Hop
    chain: list[Client]
    deadline: Deadline
    known: KnownKeys = field(default_factory=KnownKeys)

    @property
    def transport(self) -> Client:
        return self.chain[-1]

    @property
    def where(self) -> str:
        return self.hop.where

    def greet(self, kinds: Sequence[str] = ()) -> None:
        """Banner and key exchange (RFC 4253 sections 4.2 and 7)."""
        self._prefer(kinds)
        done = threading.Event()
        with watch(self.deadline, self.transport):
            self.transport.start_client(event=done)
            done.wait(self.deadline.left_s)
        if self.transport.is_active() and done.is_set() and not self.deadline.is_over:
            return
        error = self.transport.get_exception()
        if kinds and isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
            raise NoSuchKind(str(error))
        raise self._fail("handshake", error, "did not finish the SSH handshake")

    def _prefer(self, kinds: Sequence[str]) -> None:
        """Known kinds first: a host that has several keys then presents the one that is pinned."""
        try:
            self.known = self._read_known_keys()
        except ValueError as error:
            raise HostError(f"{self.hop.name}: host_keys: {error}", phase="plan") from error
        security = self.transport.get_security_options()
        offered = list(security.key_types)
        pinned = [name for key in self.known.trusted for name in _ALGORITHMS.get(key.kind, (key.kind,))]
        first = [kind for kind in dict.fromkeys(pinned) if kind in offered]
        security.key_types = tuple(kinds) or (*first, *(kind for kind in offered if kind not in first))

    def _read_known_keys(self) -> KnownKeys:
        texts = [_read_text(path) for path in self.hop.known_hosts]
        return find_known_keys(self.hop.pinned, "\n".join(texts), list_names(self.hop))

    def read_host_key(self) -> HostKey:
        try:
            key = self.transport.get_remote_server_key()
        except paramiko.SSHException as error:
            raise self._fail("handshake", error, "broke the connection") from error
        return HostKey(key.get_name(), key.asbytes())

    def check_host_key(self) -> None:
        refusal = check_host_key(self.read_host_key(), self.known, self.where)
        if refusal is not None:
            raise NetworkError(refusal, phase="host_key")

    def log_in(self) -> None:
        """Public keys only (RFC 4252 section 7); each key once."""
        agent = open_agent(self.hop.identities.agent_socket, self.deadline)
        try:
            found = list_offers(self.hop, list(agent.get_keys()) if agent else [])
            for offer in found.offers:
                if self._try(offer):
                    self.transport.watch_peer(self.hop.alive_s, self.hop.alive_count)
                    return
        finally:
            if agent is not None:
                agent.close()
        tried = ", ".join(offer.name for offer in found.offers)
        tried = tried or "no key to offer: name an identity_file, or load an agent"
        passed = "".join(f"; {reason}" for reason in found.passed_over[:3])
        raise NetworkError(f"{self.where}: {self.hop.user} was not let in with {tried}{passed}", phase="login")

    def _try(self, offer: Offer) -> bool:
        offer.key.public_blob = offer.certificate
        try:
            with watch(self.deadline, self.transport):
                self.transport.auth_publickey(self.hop.user, offer.key)
        except paramiko.BadAuthenticationType as error:
            kinds = escape_bytes(", ".join(error.allowed_types).encode("utf-8", "backslashreplace"))[:_SAID]
            raise NetworkError(f"{self.where}: it takes no keys, only {kinds}", phase="login") from error
        except paramiko.AuthenticationException as error:
            if self.deadline.is_over or not self.transport.is_active():
                raise self._fail("login", error, "did not answer the login") from error
            return False
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._fail("login", error, "did not answer the login") from error
        # A partial success (a second factor is wanted) leaves us outside.
        return self.transport.is_authenticated()

    def _fail(self, phase: str, error: BaseException | None, what: str) -> NetworkError:
        if self.deadline.is_over:
            return NetworkError(f"{self.where} {what} within {self.deadline.seconds:g} s", phase=phase)
        # paramiko quotes what was said in place of a greeting, by whoever answered there.
        said = escape_bytes(str(error or "").encode("utf-8", "backslashreplace"))[:_SAID] or "it closed the connection"
        return NetworkError(f"{self.where} {what}: {said}", phase=phase)


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
