"""The contract's JSON object of one echo ↔ one row of the history; the hot path of a recorded sweep.

100,000 results are recorded in a second or so: one pass, `itemgetter`s, no JSON but for the rare warnings.
"""

import json
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from fleet.report.summary import EchoLine

_HEAD: Final = (
    "ae_title",
    "site",
    "host",
    "virtual_service",
    "address",
    "port",
    "calling",
    "from",
    "outcome",
    "status",
    "detail",
    "attempts",
    "certificate_days",
    "elapsed_s",
)
_PHASES: Final = ("resolve_s", "connect_s", "tls_s", "associate_s", "echo_s", "release_s")
_PEER: Final = ("implementation_class_uid", "implementation_version", "max_pdu_bytes")
_head = itemgetter(*_HEAD)
_phases = itemgetter(*_PHASES)
_peer = itemgetter(*_PEER)
_NO_PEER: Final = (None, None, None)


def make_row(line: EchoLine) -> tuple[Any, ...]:
    """The columns of one result, in the order of `history_tables.ECHO_COLUMNS`."""
    row = line.row
    warnings, peer = row["warnings"], row["peer"]
    return (
        *_head(row),
        *_phases(row["phases"]),
        json.dumps(list(warnings)) if warnings else None,
        *(_peer(peer) if peer is not None else _NO_PEER),
        peer is not None,
        line.as_desired,
    )


def make_line(columns: Sequence[Any]) -> EchoLine:
    """The result that a row was made of, keys in the contract's order."""
    head = dict(zip(_HEAD, columns[:14], strict=True))
    peer = dict(zip(_PEER, columns[21:24], strict=True)) if columns[24] else None
    row = {
        **{key: head[key] for key in _HEAD[:11]},
        "warnings": json.loads(columns[20]) if columns[20] else [],
        "attempts": head["attempts"],
        "peer": peer,
        "certificate_days": head["certificate_days"],
        "phases": dict(zip(_PHASES, columns[14:20], strict=True)),
        "elapsed_s": head["elapsed_s"],
    }
    return EchoLine(row, bool(columns[25]))
