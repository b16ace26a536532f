"""What passes between the relay's parts: its configuration, what arrived, and what was decided about it.

Frozen values only, so that every part can be tried alone and none can change what another one saw.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Action = Literal["send", "hold", "wait", "skip"]
Role = Literal["primary", "optional"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Opening hours as the inventory writes them; a window belongs to its start day."""

    timezone: str
    open: tuple[str, ...]
    holidays_as: str | None = None
    holiday_dates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class When:
    """What a route is for; None or empty does not ask. Patterns hold `*` and `?`."""

    calling: tuple[str, ...] | None = None
    called: tuple[str, ...] | None = None
    modality: tuple[str, ...] | None = None
    sop_class: tuple[str, ...] | None = None
    elements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    study_has: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    wait_for_study_s: float = 0.0
    during: Schedule | None = None


@dataclass(frozen=True, slots=True)
class Deidentify:
    """De-identification by PS3.15 Annex E."""

    profile: str
    options: frozenset[str]
    pseudonyms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a value: text as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Element:
    """A part of a value: what the instance holds there, after de-identification."""

    keyword: str


@dataclass(frozen=True, slots=True)
class SetEdit:
    keyword: str
    parts: tuple[Text | Element, ...]


@dataclass(frozen=True, slots=True)
class RemoveEdit:
    keyword: str


@dataclass(frozen=True, slots=True)
class CopyEdit:
    keyword: str
    to: str


Edit = SetEdit | RemoveEdit | CopyEdit


@dataclass(frozen=True, slots=True)
class Target:
    """One destination of a route."""

    ae_title: str
    during: Schedule | None = None
    backup_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    name: str
    when: When
    otherwise: str | None
    require: Mapping[str, str | None]
    deidentify: Deidentify | None
    edit: tuple[Edit, ...]
    primary: tuple[Target, ...]
    optional: tuple[Target, ...]


def needs_transform(route: Route) -> bool:
    """Whether anything stands between what arrived and what is sent."""
    return bool(route.require or route.deidentify or route.edit)


@dataclass(frozen=True, slots=True)
class Endpoint:
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Tls:
    """How a destination is verified, and what we present to it if it asks."""

    ca_file: str | None
    server_name: str | None
    cert_file: str | None = None
    key_file: str | None = None


@dataclass(frozen=True, slots=True)
class ReceiveTls:
    """What we present to callers, and by whose word they have to be known; None: they need no certificate.

    `port` is where TLS is spoken beside plain DICOM; None: `listen` speaks TLS and nothing else.
    """

    cert_file: str
    key_file: str
    ca_file: str | None
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who may call, from where, and for what."""

    ae_title: str
    addresses: tuple[str, ...]
    services: frozenset[str]
    role: str


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a destination may be sent to at some hours; None there: as fast as it goes."""

    during: Schedule | None
    bytes_per_s: int | None
    instances_per_s: float | None


@dataclass(frozen=True, slots=True)
class Retention:
    """How long delivered instances are kept; `max_bytes`: and until the spool holds so much."""

    keep_s: float
    max_bytes: int | None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where studies are sent."""

    ae_title: str
    calling: str
    addresses: tuple[Endpoint, ...]
    external: bool
    tls: Tls | None
    connect_s: float
    acse_s: float
    max_associations: int
    rates: tuple[Rate, ...] = ()
    commitment: bool = False  # it is asked to answer for what it was sent before that is forgotten


@dataclass(frozen=True, slots=True)
class Config:
    """A relay's whole file."""

    ae_title: str
    further_titles: tuple[str, ...]
    listen: Endpoint
    receive_tls: ReceiveTls | None
    spool: Path
    max_pdu_bytes: int
    max_associations: int
    drain_timeout_s: float
    retention: Retention
    callers: tuple[Caller, ...]
    match: str
    routes: tuple[Route, ...]
    destinations: Mapping[str, Destination]

    def route(self, name: str) -> Route | None:
        """The route of that name."""
        return next((route for route in self.routes if route.name == name), None)


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One instance as it arrived; `elements` are those that routes ask about, by keyword."""

    spool_id: str
    path: Path
    calling: str
    called: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    modality: str
    transfer_syntax_uid: str
    received_at: float
    elements: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What is known of a study: when it began, what any instance of it has, where its routes lead."""

    first_received_at: float
    seen: Mapping[str, frozenset[str]] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a route says of an instance; `until` is when to ask again (hold, wait) or not to send before."""

    route: str
    action: Action
    destination: str | None = None
    role: Role = "primary"
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Transformed:
    """What a transformation wrote."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Why an instance must not go on; no value of the data set stands in it, since it is logged."""

    reason: str
