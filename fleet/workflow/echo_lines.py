"""verify's results in the shape that report keeps: columns, made without the JSON object in between."""

import json

from fleet.report.summary import EchoLine
from fleet.verify.values import EchoResult, is_alive


def make_echo_line(result: EchoResult) -> EchoLine:
    """The same line as `EchoLine(result.to_json(), is_alive(result))`, in a third of the time."""
    target, phases, peer = result.target, result.phases, result.peer
    return EchoLine.from_columns(
        (
            target.ae_title,
            target.site,
            target.host,
            target.virtual_service,
            target.address,
            target.port,
            target.calling,
            target.source,
            result.outcome.value,
            result.status,
            result.detail,
            result.attempts,
            result.certificate_days,
            round(result.elapsed_s, 6),
            _rounded(phases.resolve_s),
            _rounded(phases.connect_s),
            _rounded(phases.tls_s),
            _rounded(phases.associate_s),
            _rounded(phases.echo_s),
            _rounded(phases.release_s),
            json.dumps(result.warnings) if result.warnings else None,
            *((None, None, None) if peer is None else _peer(result)),
            peer is not None,
            is_alive(result),
        )
    )


def _peer(result: EchoResult) -> tuple[str | None, str | None, int | None]:
    peer = result.peer
    assert peer is not None  # noqa: S101  asked for only where there is one
    return peer.implementation_class_uid, peer.implementation_version, peer.max_pdu_bytes


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
