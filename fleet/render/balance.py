"""Virtual services on a host: HAProxy, keepalived, and the check scripts that both and appliances rely on.

VRRP moves an address only when it no longer answers through this host. Behind HAProxy a host whose own
archive is dead still answers through its partner, so what is asked is the local HAProxy, at a loopback address
of its own, and more patiently than HAProxy asks its servers. That HAProxy itself is gone is seen at once in the
kernel's table of listening sockets: without a connection, which would hurt the servers behind it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from fleet.errors import EmptySelection
from fleet.inventory.model import Entity, Host, Instance, VirtualService, Vrrp
from fleet.inventory.vrrp import find_families, find_unicast
from fleet.render.artifacts import Content, RenderedFile, RenderedService
from fleet.render.balance_values import (
    HaproxyServer,
    HaproxyService,
    RealServer,
    TrackScript,
    VirtualServer,
    VrrpInstance,
)
from fleet.render.collect import Collection
from fleet.render.session import Session
from fleet.render.slots import slot_of
from fleet.targets import drained, haproxy, health_check, keepalived, shell

LISTENS_PATH: Final = "/etc/fleet/check-listens"
LOCAL_NETWORK: Final = "127.0.104"  # any 127.* address is this host (RFC 1122 3.2.1.3); 104 is DICOM's port
LISTEN_INTERVAL_S: Final = 1
LISTEN_FALL: Final = 2


@dataclass(slots=True)
class _Parts:
    """What the services of one host need of the two daemons."""

    haproxy: list[HaproxyService] = field(default_factory=list)
    scripts: list[TrackScript] = field(default_factory=list)
    instances: list[VrrpInstance] = field(default_factory=list)
    virtual_servers: list[VirtualServer] = field(default_factory=list)


def render_balance(session: Session, host: Host, collection: Collection) -> None:
    """Everything that virtual services put on this host."""
    parts = _Parts()
    for number, (service, entity, own) in enumerate(_services_on(session, host), start=1):
        _add_service(_Member(session, host, collection, service, entity, own, f"{LOCAL_NETWORK}.{number}"), parts)
    _render_external(session, host, collection)
    if parts.haproxy:
        _render_haproxy(session, host, collection, parts)
    if parts.instances or parts.virtual_servers:
        _render_keepalived(session, host, collection, parts)


@dataclass(frozen=True, slots=True)
class _Member:
    """One host's share in a virtual service."""

    session: Session
    host: Host
    collection: Collection
    service: VirtualService
    entity: Entity
    own: Instance
    local_address: str

    @property
    def ordered(self) -> tuple[Instance, ...]:
        """The members, the one that serves first: by priority, then as typed."""
        priority = self.service.vrrp.priority if self.service.vrrp else {}
        return tuple(sorted(self.entity.instances, key=lambda each: -priority.get(each.host, 0)))

    def check_words(self, address: str, port: int) -> tuple[str, ...]:
        """The check script's call for one place."""
        first = self.service.addresses[0].address
        return (health_check.make_path(self.service), first, str(self.service.port), address, str(port))


def _file(host: Host, path: str, content: Content, **more: Any) -> RenderedFile:
    return RenderedFile(host.name, path, content.text, secrets=content.secrets, **more)


def _services_on(session: Session, host: Host) -> Iterator[tuple[VirtualService, Entity, Instance]]:
    for service in session.services_by_host.get(host.name, ()):
        entity = session.inventory.find_entity(service.entity)
        if entity is None:
            continue
        own = next((instance for instance in entity.instances if instance.host == host.name), None)
        if own is not None:
            yield service, entity, own


def _add_service(member: _Member, parts: _Parts) -> None:
    service = member.service
    if service.via == "external":
        return
    vrrp = service.vrrp
    tracked = vrrp if vrrp is not None and member.host.name in vrrp.priority else None
    if service.via == "haproxy":
        parts.haproxy.append(_make_haproxy(member, local=tracked is not None))
    else:
        parts.virtual_servers += _make_virtual_servers(member)
    if tracked is not None:
        scripts = _make_scripts(member, tracked)
        parts.scripts += scripts
        parts.instances += _make_instances(member, tracked, tuple(script.name for script in scripts))
    if tracked is not None or service.via == "keepalived":
        _add_check(member.session, member.host, member.collection, service, member.entity)


# HAProxy ---------------------------------------------------------------------------------------------------


def _make_haproxy(member: _Member, *, local: bool) -> HaproxyService:
    service, check = member.service, member.service.check
    associate, echo, release = haproxy.encode_check(check.calling, member.entity.ae_title)
    source = member.own.address if haproxy.is_address(member.own.address) else None
    interval_ms = max(100, round(check.interval_s * 1000))
    return HaproxyService(
        name=service.name,
        endpoints=tuple(haproxy.make_endpoint(each.address, service.port) for each in service.addresses),
        local_endpoint=haproxy.make_endpoint(member.local_address, service.port) if local else None,
        permitted=member.session.permitted_at(member.entity),
        associate=associate,
        echo=echo,
        release=release,
        interval_ms=interval_ms,
        fast_interval_ms=min(interval_ms, 1000),
        timeout_ms=max(100, round(check.timeout_s * 1000)),
        fall=check.fall,
        rise=check.rise,
        servers=tuple(_make_servers(member, source)),
    )


def _make_servers(member: _Member, source: str | None) -> Iterator[HaproxyServer]:
    for position, instance in enumerate(member.ordered):
        name = haproxy.make_server_name(member.entity, instance)
        backup = member.service.mode == "failover" and position > 0
        yield HaproxyServer(name, haproxy.make_endpoint(instance.address, instance.port), source, backup)


def _render_haproxy(session: Session, host: Host, collection: Collection, parts: _Parts) -> None:
    variables = {"services": tuple(parts.haproxy), "drained_servers": drained.SERVERS_PATH}
    content = session.render("haproxy.cfg.j2", host, haproxy.PATH, variables)
    collection.add_file(_file(host, haproxy.PATH, content, check=haproxy.CHECK, reloads=(haproxy.UNIT,)))
    collection.add_service(RenderedService(haproxy.UNIT, False))
    collection.programs.add(haproxy.PROGRAM)
    collection.users.add("haproxy")


# keepalived ------------------------------------------------------------------------------------------------


def _make_scripts(member: _Member, vrrp: Vrrp) -> tuple[TrackScript, ...]:
    service, check = member.service, member.service.check
    deadline_s = health_check.make_deadline_s(service)
    interval_s = max(1, math.ceil(check.interval_s))
    weight = keepalived.make_weight(tuple(vrrp.priority.values()))
    if service.via == "keepalived":
        words = member.check_words(member.own.address, member.own.port)
        return (
            TrackScript(f"{service.name}.answers", words, interval_s, deadline_s + 2, check.fall, check.rise, weight),
        )
    # HAProxy needs fall checks, each a timeout long at worst, to find a dead server: be more patient than that.
    patience = check.fall + math.ceil((deadline_s + 1) * check.fall / interval_s) + 1
    answers = TrackScript(
        f"{service.name}.answers",
        member.check_words(member.local_address, service.port),
        interval_s,
        deadline_s + 2,
        patience,
        check.rise,
        weight,
    )
    listens = TrackScript(
        f"{service.name}.listens",
        (LISTENS_PATH, member.local_address, str(service.port)),
        LISTEN_INTERVAL_S,
        2,
        LISTEN_FALL,
        2,
        weight,
    )
    content = member.session.render("check-listens.sh.j2", member.host, LISTENS_PATH, {})
    member.collection.add_file(_file(member.host, LISTENS_PATH, content, mode=0o755, check=shell.CHECK))
    return answers, listens


def _make_instances(member: _Member, vrrp: Vrrp, scripts: tuple[str, ...]) -> Iterator[VrrpInstance]:
    """One for each family."""
    for version in find_families(member.service):
        of_family = [each for each in member.service.addresses if ip_address(each.address).version == version]
        source, others = _unicast(member, version)
        yield VrrpInstance(
            name=member.service.name if version == 4 else f"{member.service.name}.v6",
            interface=vrrp.interface,
            virtual_router_id=vrrp.virtual_router_id,
            priority=vrrp.priority[member.host.name],
            auth_pass=slot_of(vrrp.auth_pass),
            unicast_source=source,
            unicast_peers=others,
            addresses=tuple(
                each.address if each.prefix is None else f"{each.address}/{each.prefix}" for each in of_family
            ),
            scripts=scripts,
            drained_weight=keepalived.make_weight(tuple(vrrp.priority.values())),
        )


def _unicast(member: _Member, version: int) -> tuple[str | None, tuple[str, ...]]:
    """This member's own address and the others'; without them VRRP's multicast group is used."""
    addresses = find_unicast(member.service, member.entity, version)
    others = haproxy.sort_addresses(each for host, each in addresses.items() if host != member.host.name)
    return addresses.get(member.host.name), others


def _make_virtual_servers(member: _Member) -> Iterator[VirtualServer]:
    service, check = member.service, member.service.check
    priority = service.vrrp.priority if service.vrrp else {}
    real_servers = tuple(
        RealServer(
            instance.address,
            instance.port,
            1 if service.mode == "balance" else priority.get(instance.host, len(member.ordered) - position),
            member.check_words(instance.address, instance.port),
        )
        for position, instance in enumerate(member.ordered)
        if haproxy.is_address(instance.address)
    )
    direct = all(real.port == service.port for real in real_servers)
    for each in service.addresses:
        yield VirtualServer(
            address=each.address,
            port=service.port,
            interval_s=max(1, math.ceil(check.interval_s)),
            algorithm="lc" if service.mode == "balance" else "fo",
            kind="DR" if direct else "NAT",
            timeout_s=health_check.make_deadline_s(service) + 2,
            retry=max(0, check.fall - 1),
            real_servers=real_servers,
        )


def _render_keepalived(session: Session, host: Host, collection: Collection, parts: _Parts) -> None:
    variables = {
        "script_user": keepalived.SCRIPT_USER,
        "drained_file": drained.MEMBER_PATH,
        "scripts": tuple(parts.scripts),
        "instances": tuple(parts.instances),
        "virtual_servers": tuple(parts.virtual_servers),
    }
    content = session.render("keepalived.conf.j2", host, keepalived.PATH, variables)
    mode = 0o600 if any(instance.auth_pass for instance in parts.instances) else 0o644
    collection.add_file(
        _file(host, keepalived.PATH, content, mode=mode, check=keepalived.CHECK, reloads=(keepalived.UNIT,))
    )
    collection.add_service(RenderedService(keepalived.UNIT, False))
    collection.programs.add(keepalived.PROGRAM)
    collection.users.add(keepalived.SCRIPT_USER)


# Check scripts ---------------------------------------------------------------------------------------------


def _add_check(session: Session, host: Host, collection: Collection, service: VirtualService, entity: Entity) -> None:
    path = health_check.make_path(service)
    echoscu = service.script.echoscu if service.script is not None else health_check.ECHOSCU
    variables = {
        "calling": service.check.calling,
        "called": entity.ae_title,
        "echoscu": echoscu,
        "deadline_s": health_check.make_deadline_s(service),
        "drained_addresses": drained.ADDRESS_PREFIX,
    }
    content = session.render("health-check.sh.j2", host, path, variables)
    collection.add_file(_file(host, path, content, mode=0o755, check=shell.CHECK))
    collection.programs |= {echoscu, "/usr/bin/timeout" if echoscu == health_check.ECHOSCU else "timeout"}


def _render_external(session: Session, host: Host, collection: Collection) -> None:
    """The script for appliances, on the hosts that the service names."""
    for service in session.scripted_services:
        entity = session.inventory.find_entity(service.entity)
        if entity is None or service.script is None:
            continue
        try:
            hosts = session.hosts_of(service.script.where)
        except EmptySelection:
            continue  # a rule's business
        if host.name in hosts:
            _add_check(session, host, collection, service, entity)
