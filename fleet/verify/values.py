"""What a sweep is asked and what it answers: frozen values, no behaviour beyond their own shape.

What is made for every target of a sweep is a named tuple: it is made four times as fast as a frozen dataclass.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class Outcome(StrEnum):
    """How asking one target ended: a closed set, part of the contract with users."""

    ANSWERED = "answered"
    NAME_NOT_FOUND = "name_not_found"
    NO_ROUTE = "no_route"
    REFUSED = "refused"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS_FAILED = "tls_failed"
    NOT_DICOM = "not_dicom"
    ASSOCIATION_REJECTED = "association_rejected"
    ASSOCIATION_ABORTED = "association_aborted"
    ASSOCIATION_TIMEOUT = "association_timeout"
    CONTEXT_NOT_ACCEPTED = "context_not_accepted"
    ECHO_FAILED = "echo_failed"
    ECHO_TIMEOUT = "echo_timeout"
    CONNECTION_LOST = "connection_lost"
    EXPECTATION_FAILED = "expectation_failed"
    SKIPPED_MAINTENANCE = "skipped_maintenance"
    SKIPPED_POLICY = "skipped_policy"
    LOCAL_ERROR = "local_error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to open the connection, for each answer of the association, for the echo, and for all."""

    connect_s: float = 3.0
    acse_s: float = 5.0
    dimse_s: float = 5.0
    total_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """Who we are to a peer that asks: certificate (with its chain) and private key, as PEM and never as files."""

    cert_pem: bytes
    key_pem: bytes = field(repr=False)
    key_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How to speak TLS with a target. Authorities are files or PEM text."""

    ca_file: str | None = None
    ca_pem: str | None = None
    ca_folders: tuple[str, ...] = ()
    crl_files: tuple[str, ...] = ()
    server_name: str | None = None
    certificate: ClientCertificate | None = None
    require_certificate: bool = True
    check_name: bool = True
    ciphers: tuple[str, ...] = ()  # of TLS 1.2, by OpenSSL's names or the RFCs'; nothing else is spoken then
    warn_below_days: int = 30


@dataclass(frozen=True, slots=True)
class Expectation:
    """Stricter questions than C-ECHO. SOP classes and transfer syntaxes are UIDs or their keywords."""

    rejects_wrong_called_title: bool = False
    rejects_unknown_callers: bool = False
    implementation_class_uid: str | None = None
    implementation_version: str | None = None
    sop_classes: tuple[str, ...] = ()
    transfer_syntaxes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EchoTarget:
    """Whom to ask, as whom, and how patiently. `accept` names further outcomes that count as alive."""

    ae_title: str
    address: str
    port: int
    calling: str
    site: str | None = None
    host: str | None = None
    virtual_service: str | None = None
    source: str = "controller"
    timeouts: Timeouts = Timeouts()
    max_associations_per_host: int = 1
    tls: TlsSettings | None = None
    accept: frozenset[Outcome] = frozenset()
    expect: Expectation | None = None
    overridden: str = ""  # why policy would have spared it; told with the result, whatever that is


class PeerInfo(NamedTuple):
    """What an A-ASSOCIATE-AC said of its sender. The texts are raw: whoever shows them escapes them."""

    implementation_class_uid: str | None = None
    implementation_version: str | None = None
    max_pdu_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "implementation_class_uid": self.implementation_class_uid,
            "implementation_version": self.implementation_version,
            "max_pdu_bytes": self.max_pdu_bytes,
        }


class Phases(NamedTuple):
    """Seconds that each phase took; None where the dialogue did not come that far."""

    resolve_s: float | None = None
    connect_s: float | None = None
    tls_s: float | None = None
    associate_s: float | None = None
    echo_s: float | None = None
    release_s: float | None = None

    def to_json(self) -> dict[str, float | None]:
        return {
            "resolve_s": _rounded(self.resolve_s),
            "connect_s": _rounded(self.connect_s),
            "tls_s": _rounded(self.tls_s),
            "associate_s": _rounded(self.associate_s),
            "echo_s": _rounded(self.echo_s),
            "release_s": _rounded(self.release_s),
        }


class EchoResult(NamedTuple):
    """What came of asking one target. `echo_times_s` holds one time for each echo that was answered."""

    target: EchoTarget
    outcome: Outcome
    status: int | None = None
    detail: str = ""
    warnings: tuple[str, ...] = ()
    attempts: int = 1
    peer: PeerInfo | None = None
    certificate_days: int | None = None
    phases: Phases = Phases()
    elapsed_s: float = 0.0
    echo_times_s: tuple[float, ...] = ()

    def to_json(self) -> Mapping[str, Any]:
        """Return the result object of `fleet.sweep/1`, keys in the contract's order."""
        target = self.target
        return {
            "ae_title": target.ae_title,
            "site": target.site,
            "host": target.host,
            "virtual_service": target.virtual_service,
            "address": target.address,
            "port": target.port,
            "calling": target.calling,
            "from": target.source,
            "outcome": self.outcome.value,
            "status": self.status,
            "detail": self.detail,
            "warnings": list(self.warnings),
            "attempts": self.attempts,
            "peer": None if self.peer is None else self.peer.to_json(),
            "certificate_days": self.certificate_days,
            "phases": self.phases.to_json(),
            "elapsed_s": _rounded(self.elapsed_s),
        }


_SKIPPED = frozenset({Outcome.SKIPPED_MAINTENANCE, Outcome.SKIPPED_POLICY})


def is_alive(result: EchoResult) -> bool:
    """Say whether the target is as desired: it answered, ended as its `accept` allows, or was skipped."""
    outcome = result.outcome
    return outcome is Outcome.ANSWERED or outcome in _SKIPPED or outcome in result.target.accept


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
