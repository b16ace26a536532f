"""The way to a host, hop by hop: connect, greet, judge the host's key, log in, all within one deadline."""

from collections.abc import Mapping

from fleet.inventory.model import Host
from fleet.push.connection import Deadline
from fleet.push.host_keys import HostKey
from fleet.push.ssh.client import Client, close_all, make_client, silence_log
from fleet.push.ssh.hops import Hop, list_hops
from fleet.push.ssh.login import Login, NoSuchKind
from fleet.push.ssh.options import SshOptions
from fleet.push.ssh.session import SshTransport
from fleet.push.transport import Transport

__all__ = ["SshConnector", "SshOptions", "fetch_host_keys"]

_KINDS = (("ssh-ed25519",), ("ecdsa-sha2-nistp256",), ("rsa-sha2-512", "rsa-sha2-256"))


class SshConnector:
    """Logs in to hosts; `hosts` is where a `jump` that is a host's name is looked up."""

    def __init__(self, hosts: Mapping[str, Host], options: SshOptions | None = None) -> None:
        self._hosts = hosts
        self._options = options or SshOptions()
        silence_log()

    def open_(self, host: Host, *, deadline_s: float) -> Transport:
        """Logged in, all hops, within the deadline; NetworkError names the hop and the phase that failed."""
        chain = self._open_chain(list_hops(host, self._hosts, self._options), Deadline(deadline_s))
        return SshTransport(host, tuple(chain))

    def fetch_host_keys(self, host: Host, *, deadline_s: float) -> tuple[HostKey, ...]:
        """Every kind of key that the host has; logs in nowhere but at the jumps before it."""
        total = Deadline(deadline_s)
        *jumps, last = list_hops(host, self._hosts, self._options)
        found: list[HostKey] = []
        for kinds in _KINDS:
            chain = self._open_chain(tuple(jumps), total)
            try:
                deadline = total.at_most(last.connect_s)
                chain.append(make_client(last, chain, deadline))
                login = Login(last, chain, deadline)
                login.greet(kinds)
                found.append(login.read_host_key())
            except NoSuchKind:
                continue
            finally:
                close_all(chain)
        return tuple(found)

    def _open_chain(self, hops: tuple[Hop, ...], total: Deadline) -> list[Client]:
        """A login at every hop, each through the one before; ConnectTimeout bounds a hop, the deadline all."""
        chain: list[Client] = []
        try:
            for hop in hops:
                deadline = total.at_most(hop.connect_s)
                chain.append(make_client(hop, chain, deadline))
                login = Login(hop, chain, deadline)
                login.greet()
                login.check_host_key()
                login.log_in()
        except BaseException:
            close_all(chain)
            raise
        return chain


def fetch_host_keys(
    host: Host,
    *,
    deadline_s: float,
    hosts: Mapping[str, Host] | None = None,
    options: SshOptions | None = None,
) -> tuple[HostKey, ...]:
    """What `fleet trust` shows: the host's keys, as it presents them now."""
    return SshConnector(hosts or {}, options).fetch_host_keys(host, deadline_s=deadline_s)
