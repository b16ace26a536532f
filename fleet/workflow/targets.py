"""From the inventory to the questions of a sweep: every AE, every instance, every virtual address.

What may not be asked now (policy, schedule, maintenance, an address that nobody knows) becomes a result at
once, so that results always add up to what was meant.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from fleet.inventory.model import Entity, Inventory, Tls, VerifySettings
from fleet.inventory.peers import Peer, Peers, titles_for
from fleet.inventory.schedule import Opening, is_open, parse_opening
from fleet.verify.values import (
    ClientCertificate,
    EchoResult,
    EchoTarget,
    Expectation,
    Outcome,
    Timeouts,
    TlsSettings,
)

DHCP = "dhcp"


@dataclass(frozen=True, slots=True)
class Questions:
    """`targets` are asked; `skipped` are answered already, with why."""

    targets: tuple[EchoTarget, ...]
    skipped: tuple[EchoResult, ...]


def make_questions(
    inventory: Inventory, entities: Iterable[Entity], now: datetime, *, override: bool = False
) -> Questions:
    """The questions that ask whether `entities` answer; `override` asks also those that policy spares."""
    allowed = Policy(inventory, now, override=override)
    asked = (pair for entity in entities for pair in entity_targets(inventory, entity))
    return allowed.divide(asked)


@dataclass(frozen=True)
class Policy:
    """Who may be asked now; with `override` everybody whose address is known."""

    inventory: Inventory
    now: datetime
    override: bool = False

    def why_spared(self, entity: Entity) -> str:
        """Why an entity is not asked now; empty where it is."""
        openings = {name: parse_opening(schedule) for name, schedule in self.inventory.schedules.items()}
        reason = None if self.override else _spared(openings, entity.verify, self.now)
        return reason[1] if reason else ""

    def divide(self, asked: Iterable[tuple[EchoTarget, VerifySettings]]) -> Questions:
        """Those that are asked, and those that are answered already, with why."""
        openings = {name: parse_opening(schedule) for name, schedule in self.inventory.schedules.items()}
        targets: list[EchoTarget] = []
        skipped: list[EchoResult] = []
        for target, verify in asked:
            reason = _spared(openings, verify, self.now)
            asked_of = target
            if self.override and reason is not None:
                asked_of, reason = replace(target, overridden=reason[1]), None
            if reason is None and (
                closed := why_unpresentable(self.inventory, self.inventory.find_entity(target.ae_title))
            ):
                reason = Outcome.LOCAL_ERROR, closed
            if target.address == DHCP:
                reason = Outcome.SKIPPED_POLICY, "its address is given by DHCP: nobody knows where to ask"
            if reason is None:
                targets.append(asked_of)
            else:
                skipped.append(EchoResult(target, reason[0], detail=reason[1]))
        return Questions(tuple(targets), tuple(skipped))


def entity_targets(inventory: Inventory, entity: Entity) -> Iterator[tuple[EchoTarget, VerifySettings]]:
    """Every way in which one entity can be asked: its instances, its virtual addresses, its further titles.

    A further title may listen where the main one does not.
    """
    for place, verify in _own_places(inventory, entity):
        if entity.listens:
            yield place, verify
        for further in entity.also:
            port = further.port or place.port
            if further.listens and port:
                yield replace(place, ae_title=further.ae_title, port=port), verify
    if not entity.listens:
        return
    plain = _target(inventory, entity, entity.verify)
    for service in inventory.services_by_entity.get(entity.ae_title, ()):
        for address in service.addresses:
            asked = replace(plain, address=address.address, port=service.port, virtual_service=service.name)
            yield asked, entity.verify


def _own_places(inventory: Inventory, entity: Entity) -> Iterator[tuple[EchoTarget, VerifySettings]]:
    """Where its processes are, and where the box is; TLS may have a port of its own."""
    for instance in entity.instances:
        own = _target(inventory, entity, instance.verify)
        yield replace(own, address=instance.address, port=instance.port, host=instance.host), instance.verify
    if entity.address and (entity.port or not entity.listens):
        plain = _target(inventory, entity, entity.verify)
        yield replace(plain, port=(entity.tls.port if entity.tls else None) or plain.port), entity.verify


def make_flow_questions(peers: Peers, entities: Iterable[Entity], policy: Policy) -> Questions:
    """Every flow whose source is on a host of ours, asked from that host with the source's own titles.

    A title of `also` that stands for the main one in a service is the one that calls in it: a peer's table
    lists that title, and would refuse the other. Policy spares a device whoever asks it.
    """
    found: dict[tuple[str, str, str, int, str], tuple[EchoTarget, VerifySettings]] = {}
    for entity in entities:
        if not entity.instances:
            continue
        for peer in peers.called_by(entity):
            for calling in _calling_titles(entity, peer):
                for pair in _flow_targets(peers.inventory, entity, peer, calling):
                    target = pair[0]
                    found[target.source, target.ae_title, target.address, target.port, target.calling] = pair
    return policy.divide(found.values())


def _calling_titles(entity: Entity, peer: Peer) -> tuple[str, ...]:
    """The titles under which `entity` calls this peer, over all services of the flow."""
    return tuple(dict.fromkeys(title for service in peer.services for title in titles_for(entity, service)))


def _flow_targets(
    inventory: Inventory, entity: Entity, peer: Peer, calling: str
) -> Iterator[tuple[EchoTarget, VerifySettings]]:
    called = peer.entity
    if called is None:
        return
    address, port = peer.address, peer.port
    if address is None and called.address == DHCP:
        address, port = DHCP, called.port
    if not address or not port:
        return
    virtual = {
        place.address: service.name
        for service in inventory.services_by_entity.get(called.ae_title, ())
        for place in service.addresses
    }
    for instance in entity.instances:
        target = replace(
            _target(inventory, called, called.verify),
            ae_title=peer.ae_title,
            address=address,
            port=port,
            calling=calling,
            source=instance.host,
            virtual_service=virtual.get(address),
        )
        yield target, called.verify


def _target(inventory: Inventory, entity: Entity, verify: VerifySettings) -> EchoTarget:
    """What all questions to an entity share."""
    times = verify.timeouts
    expect = verify.expect
    return EchoTarget(
        ae_title=entity.ae_title,
        address=entity.address or "",
        port=entity.port or 0,
        calling=verify.calling,
        site=entity.site,
        source=verify.probe_from or "controller",
        timeouts=Timeouts(times.connect_s, times.acse_s, times.dimse_s, times.total_s),
        max_associations_per_host=verify.max_associations_per_host,
        tls=make_tls(inventory, entity.tls) if entity.tls else None,
        accept=frozenset(Outcome(word) for word in verify.accept),
        expect=Expectation(
            rejects_wrong_called_title=bool(expect.rejects_wrong_called_title),
            rejects_unknown_callers=bool(expect.rejects_unknown_callers),
            implementation_class_uid=expect.implementation_class_uid,
            implementation_version=expect.implementation_version,
            sop_classes=expect.sop_classes,
            transfer_syntaxes=expect.transfer_syntaxes,
        )
        if expect
        else None,
    )


def make_tls(inventory: Inventory, tls: Tls) -> TlsSettings:
    """Verified TLS as the inventory's certificates say (PS3.15 B.12); who we are is said to a peer that asks."""
    authority = inventory.certificates.get(tls.verify_ca or "")
    own = inventory.certificates.get(tls.present or "")
    certificate = None
    if own is not None and own.cert_pem and own.key is not None and own.key.is_open:
        certificate = ClientCertificate(own.cert_pem.encode(), own.key.reveal().encode())
    return TlsSettings(
        ca_pem=authority.ca_pem if authority else None, server_name=tls.verify_name, certificate=certificate
    )


def why_unpresentable(inventory: Inventory, entity: Entity | None) -> str:
    """Why the certificate that a peer is to be shown cannot be shown; empty where it can, or none is."""
    own = inventory.certificates.get(entity.tls.present or "") if entity and entity.tls else None
    if own is None or (own.key is not None and own.key.is_open):
        return ""
    if own.key is None:
        return f"not asked: it is to be shown the certificate {own.name}, and there is no key of it"
    return (
        f"not asked: it is to be shown the certificate {own.name}, whose key was not opened; give --vault-password-file"
        " FILE or --vault-password-command CMD"
    )


def _spared(openings: Mapping[str, Opening], verify: VerifySettings, now: datetime) -> tuple[Outcome, str] | None:
    """Why an AE is not asked now; None where it is."""
    for window in verify.maintenance:
        if datetime.fromisoformat(window.starts_at) <= now < datetime.fromisoformat(window.ends_at):
            return Outcome.SKIPPED_MAINTENANCE, f"in maintenance until {window.ends_at}: {window.reason}"
    if verify.probe == "always":
        return None
    if verify.probe == "never":
        return Outcome.SKIPPED_POLICY, f"never asked: {verify.reason}"
    opening = openings.get(verify.probe)
    if opening is not None and is_open(opening, now):
        return None
    return Outcome.SKIPPED_POLICY, f"asked only in {verify.probe}: {verify.reason}"
