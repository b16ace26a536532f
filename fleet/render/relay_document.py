"""A relay's file as a document: everything that its texts name, resolved for this relay and this host."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fleet.errors import UnfitValue
from fleet.inventory.model import Entity, Instance, Relay, Route, RouteDestination, Schedule
from fleet.inventory.peers import Peer, titles_for
from fleet.inventory.settings import parse_duration
from fleet.render import certificates
from fleet.render.archive import proxies_of
from fleet.render.session import Session
from fleet.targets import relay as target

SCHEMA: Final = "fleet.relay/1"
_DEFAULT_MAX_PDU: Final = 131072
_DEFAULT_MAX_ASSOCIATIONS: Final = 64
# T78: an upgrade waits no longer for it; what it has acknowledged is on its disk by then, whoever is cut off.
RELAY_DRAIN_S: Final = 30.0
_DEFAULT_KEEP_S: Final = 24 * 3600.0
_DEFAULT_WAIT_S: Final = 60.0

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """Names in `certificates`: the CAs that it verifies with, and what it shows of itself."""

    authorities: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()


def make_document(
    session: Session, entity: Entity, instance: Instance, spool: str, service: str
) -> tuple[Document, Shown]:
    """Everything that the relay has to know, and the certificates that it needs beside it for sending.

    `service` is the name under which it keeps its keys.
    """
    settings = entity.run.settings if entity.run else {}
    texts = target.select_relays(session.relay_texts, entity)
    resolver = _Resolver(session, entity, instance, service)
    drain, keep = settings.get("drain_timeout"), settings.get("keep_delivered")
    proxies = proxies_of(entity, session.peers)
    routes = [resolver.route(text, route) for text in texts for route in text.routes]
    document = {
        "schema": SCHEMA,
        "ae_title": entity.ae_title,
        "further_titles": sorted(also.ae_title for also in entity.also if also.listens),
        "listen": {"address": instance.address, "port": instance.port},
        "receive": {"tls": _receive_tls(settings, service)},
        "spool": spool,
        "max_pdu_bytes": settings.get("max_pdu", _DEFAULT_MAX_PDU),
        "max_associations": settings.get("max_associations", _DEFAULT_MAX_ASSOCIATIONS),
        "drain_timeout_s": parse_duration(drain) if drain else RELAY_DRAIN_S,
        "retention": {
            "keep_s": parse_duration(keep) if keep else _DEFAULT_KEEP_S,
            "max_bytes": settings.get("keep_delivered_bytes"),
        },
        "callers": [_caller(peer, proxies) for peer in session.peers.callers_of(entity)],
        "match": texts[0].match if texts else "all",
        "routes": routes,
        "destinations": dict(sorted(resolver.destinations.items())),
    }
    return document, Shown(frozenset(resolver.authorities), frozenset(resolver.own))


def _receive_tls(settings: Mapping[str, Any], service: str) -> Document | None:
    """What callers meet; None: plain DICOM."""
    tls = settings.get("tls")
    if tls is None:
        return None
    name, callers_ca = tls["certificate"], tls.get("callers_ca")
    return {
        "cert_file": certificates.cert_path(name),
        "key_file": certificates.key_path(name, service),
        "ca_file": certificates.ca_path(callers_ca) if callers_ca else None,
    }


def _caller(peer: Peer, proxies: tuple[str, ...]) -> Document:
    """A caller; behind HAProxy it comes from the members' addresses too, and HAProxy knows where it really is."""
    return {
        "ae_title": peer.ae_title,
        "addresses": sorted({*peer.sources, *proxies}) if peer.sources else [],
        "services": sorted(peer.services),
        "role": peer.role,
    }


class _Resolver:
    """Names of a relay's texts made into what they stand for, remembering the destinations met."""

    def __init__(self, session: Session, entity: Entity, instance: Instance, service: str) -> None:
        self._service = service
        self.authorities: set[str] = set()
        self.own: set[str] = set()
        self._session, self._entity, self._vars = session, entity, instance.vars
        self._called = {peer.ae_title: peer for peer in session.peers.called_by(entity)}
        self.destinations: dict[str, Document] = {}
        self._rates: dict[str, list[Document]] = {}
        self._committing: set[str] = set()

    def route(self, text: Relay, route: Route) -> Document:
        return {
            "name": route.name,
            "when": self._when(text, route.when),
            "otherwise": route.otherwise,
            "require": _require(route.require),
            "deidentify": _deidentify(route.deidentify),
            "edit": [self._edit(edit) for edit in route.edit],
            "primary": [self._destination(text, each) for each in route.primary],
            "optional": [self._destination(text, each) for each in route.optional],
        }

    def _when(self, text: Relay, when: Mapping[str, Any]) -> Document:
        found: Document = {
            key: _patterns(when[key]) for key in ("calling", "called", "modality", "sop_class") if key in when
        }
        for key in ("elements", "study_has"):
            if key in when:
                found[key] = {keyword: _patterns(value) for keyword, value in sorted(when[key].items())}
        if "study_has" in when:
            wait = when.get("wait_for_study")
            found["wait_for_study_s"] = parse_duration(wait) if wait else _DEFAULT_WAIT_S
        if "during" in when:
            found["during"] = self._schedule(text, when["during"])
        return found

    def _schedule(self, text: Relay, during: str) -> Document:
        known = self._session.inventory.schedules.get(during)
        return _inline(known or Schedule(during, text.timezone, (during,)))

    def _edit(self, edit: Mapping[str, Any]) -> Document:
        if "set" in edit:
            return {"set": edit["set"], "value": target.make_parts(str(edit["value"]), self._vars)}
        return dict(edit)

    def _destination(self, text: Relay, destination: RouteDestination) -> Document:
        title = self._resolve(target.fill(destination.ae_title, self._vars))
        self._limit(text, title, destination)
        return {
            "ae_title": title,
            "during": self._schedule(text, destination.during) if destination.during else None,
            "backup_after_s": destination.backup_after_s,
        }

    def _limit(self, text: Relay, title: str, destination: RouteDestination) -> None:
        """Rates are the line's, not the route's: routes that say any for one destination have to say the same."""
        if destination.commitment:
            self._committing.add(title)
            self.destinations[title]["commitment"] = True
        if not destination.rates:
            return
        rates = [
            {
                "during": self._schedule(text, rate.during) if rate.during else None,
                "bytes_per_s": rate.bytes_per_s,
                "instances_per_s": rate.instances_per_s,
            }
            for rate in destination.rates
        ]
        if self._rates.setdefault(title, rates) != rates:
            raise UnfitValue(
                f"two routes of {self._entity.ae_title} give {title} different `rates`; they are the destination's,"
                " whatever route leads there: say them once, or the same"
            )
        self.destinations[title]["rates"] = rates

    def _resolve(self, name: str) -> str:
        """The title that a name stands for in a storage association; its place is remembered."""
        inventory, peers = self._session.inventory, self._session.peers
        entity = inventory.find_entity(name)
        if entity is None:
            raise UnfitValue(f"{self._entity.ae_title} is to send to {name!r}, which is no entity of this inventory")
        title = name if name in entity.titles else titles_for(entity, "storage")[0]
        places = peers.destinations_of(entity, self._entity.site)
        if not places:
            raise UnfitValue(f"{self._entity.ae_title} is to send to {title}, which listens at no known address")
        peer = self._called.get(title)
        port = peer.port if peer is not None and peer.port is not None and len(places) == 1 else None
        self.destinations[title] = {
            "ae_title": title,
            "calling": titles_for(self._entity, "storage")[0],
            "addresses": [{"address": address, "port": port or each} for address, each in places],
            "external": inventory.is_external(entity.site),
            "tls": self._tls(entity),
            "timeouts_s": {
                "connect": entity.verify.timeouts.connect_s,
                "acse": entity.verify.timeouts.acse_s,
            },
            "max_associations": entity.verify.max_associations_per_host,
            "rates": self._rates.get(title, []),
            "commitment": title in self._committing,
        }
        return title

    def _tls(self, entity: Entity) -> Document | None:
        """How its certificate is verified (without a CA of its own, by the host's), and what it is shown."""
        tls = entity.tls
        if tls is None:
            return None
        found: Document = {"ca_file": None, "server_name": tls.verify_name or entity.address}
        if tls.verify_ca:
            self.authorities.add(tls.verify_ca)
            found["ca_file"] = certificates.ca_path(tls.verify_ca)
        if tls.present:
            self.own.add(tls.present)
            found["cert_file"] = certificates.cert_path(tls.present)
            found["key_file"] = certificates.key_path(tls.present, self._service)
        return found


def _inline(schedule: Schedule) -> Document:
    holidays = {"as": schedule.holidays_as, "dates": sorted(schedule.holiday_dates)} if schedule.holidays_as else None
    return {"timezone": schedule.timezone, "open": list(schedule.open), "holidays": holidays}


def _patterns(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _require(require: Any) -> Document:
    if isinstance(require, Mapping):
        return {keyword: {"matches": rule.get("matches")} for keyword, rule in sorted(require.items())}
    return {keyword: {"matches": None} for keyword in sorted(require)}


def _deidentify(value: Mapping[str, Any] | None) -> Document | None:
    if value is None:
        return None
    return {
        "profile": value["profile"],
        "options": sorted(value.get("options", ())),
        "pseudonyms": sorted(value.get("pseudonyms", ())),
    }
