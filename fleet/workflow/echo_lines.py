"""verify's results in the shape that report keeps: columns, made without the JSON object in between."""

import json

from fleet.report.summary import EchoLine
from fleet.verify.values import EchoResult, Outcome, is_alive

_ANSWERED = Outcome.ANSWERED


def make_echo_line(result: EchoResult) -> EchoLine:
    """The same line as `EchoLine(result.to_json(), is_alive(result))`, in a third of the time."""
    target, outcome, status, detail, warnings, attempts, peer, certificate_days, phases, elapsed_s, _ = result
    resolve_s, connect_s, tls_s, associate_s, echo_s, release_s = phases
    uid, version, max_pdu_bytes = peer or (None, None, None)
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
            str(outcome),
            status,
            detail,
            attempts,
            certificate_days,
            int(elapsed_s * 1e6 + 0.5) / 1e6,
            resolve_s and int(resolve_s * 1e6 + 0.5) / 1e6,
            connect_s and int(connect_s * 1e6 + 0.5) / 1e6,
            tls_s and int(tls_s * 1e6 + 0.5) / 1e6,
            associate_s and int(associate_s * 1e6 + 0.5) / 1e6,
            echo_s and int(echo_s * 1e6 + 0.5) / 1e6,
            release_s and int(release_s * 1e6 + 0.5) / 1e6,
            json.dumps(warnings) if warnings else None,
            uid,
            version,
            max_pdu_bytes,
            peer is not None,
            outcome is _ANSWERED or is_alive(result),
        )
    )
