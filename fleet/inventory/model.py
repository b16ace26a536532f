"""The inventory's values: frozen, resolved, and free of YAML.

Everything here is what `load` made of the files: settings are already merged (fleet < kind < site < host <
entity), durations are seconds, titles are trimmed text. Look-ups are methods of `Inventory`; who may talk to
whom is derived in `peers`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from fleet.documents.values import Document
from fleet.errors import Location
from fleet.secrets.secret import Secret

EMPTY: Mapping[str, Any] = MappingProxyType({})


def empty() -> Mapping[str, Any]:
    """The one empty mapping, as a default."""
    return EMPTY


KINDS = ("archive", "modality", "workstation", "relay", "worklist", "printer", "other")
SERVICES = ("verification", "storage", "query-retrieve", "worklist", "storage-commitment", "mpps", "print")
ENGINES = ("dcmqrscp", "storescp", "wlmscpfs", "relay", "none")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was typed: a document and the steps to it; positions are looked up only when told."""

    document: Document | None = None
    steps: tuple[str | int, ...] = ()

    def at(self, *below: str | int) -> Location:
        """Where what lies `below` was typed, or the nearest thing above it that was."""
        if self.document is None:
            return Location("")
        return self.document.locate((*self.steps, *below))


NO_ORIGIN = Origin()


class Placed:
    """What was typed somewhere, and can say where."""

    __slots__ = ()
    origin: Origin

    def at(self, *below: str | int) -> Location:
        """Where the value under these keys was typed, or where this begins."""
        return self.origin.at(*below)

    @property
    def location(self) -> Location:
        """Where this begins."""
        return self.origin.at()


@dataclass(frozen=True, slots=True)
class Site(Placed):
    """A place; `external` ones are not ours: nothing plain or identified goes there."""

    name: str
    external: bool = False
    labels: Mapping[str, str] = field(default_factory=empty)
    vars: Mapping[str, Any] = field(default_factory=empty)
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SshSettings:
    """How fleet logs in to a host; `jump` names other hosts or `user@address:port`, the first hop first.

    `given` are the keys that somebody typed: they outweigh an ssh_config, what stands here by default does not.
    """

    user: str = "fleet"
    port: int = 22
    jump: str | None = None
    identity_file: str | None = None
    become: str = "none"  # or "sudo"
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @property
    def jumps(self) -> tuple[str, ...]:
        """Every hop of `jump`, in the order in which they are passed."""
        return () if self.jump is None else tuple(self.jump.split(","))


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of one dialogue in seconds; `total_s` bounds all of it."""

    connect_s: float = 5.0
    acse_s: float = 10.0
    dimse_s: float = 10.0
    total_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Maintenance(Placed):
    """A time when a silent AE is no fault; ISO 8601 with an offset, as typed."""

    starts_at: str
    ends_at: str
    reason: str
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must be true of a peer beyond its answer; negotiated only, nothing is stored."""

    rejects_wrong_called_title: bool | None = None
    rejects_unknown_callers: bool | None = None
    implementation_class_uid: str | None = None
    implementation_version: str | None = None
    sop_classes: tuple[str, ...] = ()
    transfer_syntaxes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """How an AE may be asked, already merged from every layer."""

    calling: str = "FLEET_SCU"
    timeouts: Timeouts = Timeouts()
    max_associations_per_host: int = 1
    probe: str = "always"  # always, never, or a schedule's name
    reason: str = ""
    probe_from: str | None = None  # `from`: a host of ours when the controller cannot reach it
    accept: tuple[str, ...] = ()
    importance: str = "page"
    maintenance: tuple[Maintenance, ...] = ()
    expect: Expectation | None = None


@dataclass(frozen=True, slots=True)
class Tls:
    """DICOM over TLS (PS3.15 B.12): verified only, never plain; names are those of `certificates`."""

    port: int | None = None
    verify_ca: str | None = None
    verify_name: str | None = None
    present: str | None = None


@dataclass(frozen=True, slots=True)
class Host(Placed):
    """A machine that fleet logs in to; `vars` are merged fleet < site < host."""

    name: str
    address: str
    site: str
    ssh: SshSettings = SshSettings()
    host_keys: tuple[str, ...] = ()
    redundancy_group: str | None = None
    labels: Mapping[str, str] = field(default_factory=empty)
    vars: Mapping[str, Any] = field(default_factory=empty)
    retired: bool = False
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Instance(Placed):
    """One process of an entity on a host of ours; `address` is where DICOM listens on it.

    `vars` and `verify` are merged over every layer, this host's between the site's and the entity's.
    """

    host: str
    port: int
    address: str
    vars: Mapping[str, Any] = field(default_factory=empty)
    verify: VerifySettings = VerifySettings()
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AlsoTitle(Placed):
    """A further title of the same machine; `services` are those where it stands for the main title."""

    ae_title: str
    port: int | None
    listens: bool
    services: tuple[str, ...] = ()
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SharedTitle:
    """The way out while a vendor is awaited: a title that two holders bear for a time."""

    reason: str
    until: str
    move_destination: bool = False


@dataclass(frozen=True, slots=True)
class Run(Placed):
    """What serves an entity on our hosts: an engine and that engine's own settings, as typed."""

    engine: str
    settings: Mapping[str, Any] = field(default_factory=empty)
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Entity(Placed):
    """An Application Entity: one title, one meaning.

    A box has `address` and `port`; what runs on our hosts has `instances`; an SCU only has `listens=False`
    (then `port` is None and it is never probed). `vars` and `verify` are merged over every layer but the
    host's, since instances may stand on several: each instance has its own.
    """

    ae_title: str
    name: str
    kind: str
    site: str
    address: str | None = None
    port: int | None = None
    instances: tuple[Instance, ...] = ()
    listens: bool = True
    provides: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()
    modality: str | None = None
    description: str = ""
    contact: str = ""
    comment: str = ""
    labels: Mapping[str, str] = field(default_factory=empty)
    vars: Mapping[str, Any] = field(default_factory=empty)
    also: tuple[AlsoTitle, ...] = ()
    seen_as: Mapping[str, str] = field(default_factory=empty)
    tls: Tls | None = None
    run: Run | None = None
    verify: VerifySettings = VerifySettings()
    shared_title: SharedTitle | None = None
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)

    @property
    def titles(self) -> tuple[str, ...]:
        """Every title that this machine bears, the main one first."""
        return (self.ae_title, *(further.ae_title for further in self.also))

    @property
    def engine(self) -> str:
        """The engine that serves it on our hosts, `none` where we only probe."""
        return self.run.engine if self.run else "none"


@dataclass(frozen=True, slots=True)
class Flow(Placed):
    """Who may talk to whom; selectors as typed, resolved by `peers`."""

    source: str
    destination: str
    services: tuple[str, ...]
    within_site: bool = False
    except_sites: tuple[str, ...] = ()
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Prober(Placed):
    """Who asks C-ECHO of everybody; its title belongs to no entity."""

    ae_title: str
    addresses: tuple[str, ...]
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Schedule(Placed):
    """Named opening hours; `open` windows as typed, read by `inventory.schedule`."""

    name: str
    timezone: str
    open: tuple[str, ...]
    holidays_as: str | None = None
    holiday_dates: tuple[str, ...] = ()
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Rate(Placed):
    """How fast a destination may be sent to; without `during` always."""

    during: str | None = None
    bytes_per_s: int | None = None
    instances_per_s: float | None = None
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class RouteDestination(Placed):
    """One destination of a route; `ae_title` may hold a `{{ var }}` until it is resolved for a relay."""

    ae_title: str
    during: str | None = None
    backup_after_s: float | None = None
    rates: tuple[Rate, ...] = ()
    commitment: bool = False
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Route(Placed):
    """One route of a relay; `when`, `require`, `deidentify`, `edit` as typed (the relay's own contract)."""

    name: str
    when: Mapping[str, Any] = field(default_factory=empty)
    otherwise: str | None = None  # skip or hold
    require: tuple[Any, ...] | Mapping[str, Any] = ()
    deidentify: Mapping[str, Any] | None = None
    edit: tuple[Mapping[str, Any], ...] = ()
    primary: tuple[RouteDestination, ...] = ()
    optional: tuple[RouteDestination, ...] = ()
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Relay(Placed):
    """Store-and-forward routes; `entity` is a selector: one text for twelve relays."""

    entity: str
    timezone: str
    match: str = "all"
    routes: tuple[Route, ...] = ()
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class VirtualAddress(Placed):
    """An address of a virtual service; `prefix` is its network's length, None where none was typed."""

    address: str
    prefix: int | None = None
    until: str | None = None
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Vrrp(Placed):
    """VRRP of a virtual service (RFC 5798): `priority` by host name."""

    interface: str
    virtual_router_id: int
    priority: Mapping[str, int]
    auth_pass: Secret | None = None
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class HealthCheck(Placed):
    """The C-ECHO that decides whether a member serves; `calling` belongs to no entity."""

    calling: str
    interval_s: float = 5.0
    timeout_s: float = 3.0
    fall: int = 3
    rise: int = 2
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ExternalScript:
    """The health-check script for an appliance: put on the hosts of `where`."""

    path: str
    echoscu: str
    where: str


@dataclass(frozen=True, slots=True)
class VirtualService(Placed):
    """One title and address in front of several instances."""

    name: str
    entity: str
    site: str
    addresses: tuple[VirtualAddress, ...]
    port: int
    mode: str = "failover"  # or balance
    via: str = "haproxy"  # or keepalived, external
    vrrp: Vrrp | None = None
    check: HealthCheck = HealthCheck("LOADBALANCER")
    script: ExternalScript | None = None
    shared_storage_reason: str | None = None
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Certificate(Placed):
    """A CA, or a certificate with its private key, or both; the key comes from a file or stood in the inventory.

    `key_file` is that file, `key_is_shared` whether others on the controller may read it.
    """

    name: str
    ca_file: str | None = None
    cert_file: str | None = None
    ca_pem: str | None = None
    cert_pem: str | None = None
    key: Secret | None = None
    key_file: str | None = None
    key_is_shared: bool = False
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TeamFile(Placed):
    """A text file of the team's own, kept on the hosts of `where`."""

    template: str
    path: str
    where: str
    mode: int = 0o644
    owner: str = "root:root"
    check: str | None = None
    handler: str | None = None
    source: str = ""  # the template's text, read beside the inventory
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Waiver(Placed):
    """A problem that a team has accepted until a date."""

    code: str
    where: str
    reason: str
    until: str
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class RetiredTitle(Placed):
    """A title not to be used again before a date."""

    ae_title: str
    until: str
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Naming:
    """How new titles are proposed; titles in use are not judged by it."""

    pattern: str
    codes: Mapping[str, str] = field(default_factory=empty)


@dataclass(frozen=True)
class Inventory:
    """The whole fleet, and the questions that every stage asks of it."""

    name: str
    digest: str
    sites: Mapping[str, Site]
    hosts: Mapping[str, Host]
    entities: tuple[Entity, ...]
    groups: Mapping[str, str] = field(default_factory=empty)
    flows: tuple[Flow, ...] = ()
    probers: tuple[Prober, ...] = ()
    schedules: Mapping[str, Schedule] = field(default_factory=empty)
    relays: tuple[Relay, ...] = ()
    virtual_services: tuple[VirtualService, ...] = ()
    certificates: Mapping[str, Certificate] = field(default_factory=empty)
    files: tuple[TeamFile, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    retired_titles: tuple[RetiredTitle, ...] = ()
    naming: Naming | None = None
    controllers: tuple[str, ...] = ()
    group_origins: Mapping[str, Origin] = field(default_factory=empty)
    left_out: frozenset[str] = frozenset()  # titles and names that are typed but broken: known, not usable
    incomplete: bool = False  # something typed is not in here (broken, unreadable): absence proves nothing
    unread: bool = False  # a whole file is not in here, so that not even the names in it are known
    unread_files: tuple[str, ...] = ()  # those files
    broken_keys: frozenset[str] = frozenset()  # top-level keys (`relays`, `vars`) of which something was left out
    fleet_origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)
    sources: tuple[tuple[str, str], ...] = ()  # every file that the digest is over, with its own

    @cached_property
    def by_title(self) -> Mapping[str, Entity]:
        """Entity by any title it bears; the first in file order where two claim one (a problem elsewhere)."""
        found: dict[str, Entity] = {}
        for entity in self.entities:
            for title in entity.titles:
                found.setdefault(title, entity)
        return found

    @cached_property
    def by_name(self) -> Mapping[str, Entity]:
        """Entity by its name, which is its main title where none was given."""
        found: dict[str, Entity] = {}
        for entity in self.entities:
            found.setdefault(entity.name, entity)
        return found

    @cached_property
    def services_by_entity(self) -> Mapping[str, tuple[VirtualService, ...]]:
        """Virtual services by the main title of their entity."""
        found: dict[str, list[VirtualService]] = {}
        for service in self.virtual_services:
            entity = self.find_entity(service.entity)
            found.setdefault(entity.ae_title if entity else service.entity, []).append(service)
        return {title: tuple(services) for title, services in found.items()}

    @cached_property
    def instances_by_host(self) -> Mapping[str, tuple[tuple[Entity, Instance], ...]]:
        """What runs on each host of ours."""
        found: dict[str, list[tuple[Entity, Instance]]] = {}
        for entity in self.entities:
            for instance in entity.instances:
                found.setdefault(instance.host, []).append((entity, instance))
        return {host: tuple(pairs) for host, pairs in found.items()}

    def find_entity(self, text: str) -> Entity | None:
        """The entity that `text` names, by title first, then by name."""
        return self.by_title.get(text) or self.by_name.get(text)

    def is_external(self, site: str) -> bool:
        """Whether a site is not ours."""
        known = self.sites.get(site)
        return known is not None and known.external
