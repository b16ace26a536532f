"""What the templates of HAProxy and keepalived see: plain frozen values, documented in docs/templates.md."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fleet.inventory.peers import Peer
from fleet.render.slots import Slot
from fleet.targets import haproxy


@dataclass(frozen=True, slots=True)
class HaproxyServer:
    """A member as HAProxy knows it."""

    name: str
    endpoint: str
    source: str | None
    backup: bool


@dataclass(frozen=True, slots=True)
class Permitted:
    """Who may call, in lines: source addresses, and what `address/CALLING` may begin with."""

    addresses: tuple[tuple[str, ...], ...]
    callers: tuple[tuple[str, ...], ...]


def make_permitted(callers: Iterable[Peer]) -> Permitted:
    """From those who may call; whose address is not known, or a name, HAProxy cannot tell from a stranger."""
    pairs = {(peer.ae_title, source) for peer in callers for source in peer.sources if haproxy.is_address(source)}
    patterns = (pattern for title, source in sorted(pairs) for pattern in haproxy.make_caller_patterns(title, source))
    addresses = haproxy.sort_addresses({source for _, source in pairs})
    return Permitted(haproxy.split_words(addresses), haproxy.split_words(tuple(patterns)))


@dataclass(frozen=True, slots=True)
class HaproxyService:
    """A virtual service for haproxy.cfg."""

    name: str
    endpoints: tuple[str, ...]
    local_endpoint: str | None
    permitted: Permitted
    associate: str
    echo: str
    release: str
    interval_ms: int
    fast_interval_ms: int
    timeout_ms: int
    fall: int
    rise: int
    servers: tuple[HaproxyServer, ...]


@dataclass(frozen=True, slots=True)
class TrackScript:
    """A vrrp_script for keepalived.conf: a path and plain words."""

    name: str
    words: tuple[str, ...]
    interval_s: int
    timeout_s: int
    fall: int
    rise: int
    weight: int


@dataclass(frozen=True, slots=True)
class VrrpInstance:
    """A vrrp_instance for keepalived.conf; one for each family of addresses."""

    name: str
    interface: str
    virtual_router_id: int
    priority: int
    auth_pass: Slot | None
    unicast_source: str | None
    unicast_peers: tuple[str, ...]
    addresses: tuple[str, ...]
    scripts: tuple[str, ...]
    drained_weight: int


@dataclass(frozen=True, slots=True)
class RealServer:
    """A member as LVS knows it."""

    address: str
    port: int
    weight: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VirtualServer:
    """A virtual_server for keepalived.conf."""

    address: str
    port: int
    interval_s: int
    algorithm: str
    kind: str
    timeout_s: int
    retry: int
    real_servers: tuple[RealServer, ...]


BALANCE_TYPES: Final[tuple[type, ...]] = (
    HaproxyServer,
    HaproxyService,
    Permitted,
    TrackScript,
    VrrpInstance,
    RealServer,
    VirtualServer,
)
