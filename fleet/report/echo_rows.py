"""The contract's JSON object of one echo ↔ the columns of the history; the hot path of a sweep of 100,000.

Columns are also what a result is kept as: a tuple of 26 shared values instead of three dictionaries. No JSON but
for the rare warnings.
"""

import json
from collections.abc import Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final

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

Columns = tuple[Any, ...]
INDEX: Final[Mapping[str, int]] = MappingProxyType({key: number for number, key in enumerate((*_HEAD, *_PHASES))})
WARNINGS: Final = 20
OUTCOME: Final = _HEAD.index("outcome")
AS_DESIRED: Final = 25


def make_columns(row: Mapping[str, Any], as_desired: bool) -> Columns:
    """The columns of one result, in the order of `history.tables.ECHO_COLUMNS`."""
    warnings, peer = row["warnings"], row["peer"]
    return (
        *_head(row),
        *_phases(row["phases"]),
        json.dumps(list(warnings)) if warnings else None,
        *(_peer(peer) if peer is not None else _NO_PEER),
        peer is not None,
        as_desired,
    )


def make_row(columns: Columns) -> dict[str, Any]:
    """The result that the columns were made of, keys in the contract's order."""
    head = dict(zip(_HEAD, columns[:14], strict=True))
    attempts, certificate_days, elapsed_s = columns[11:14]
    for key in _HEAD[11:]:
        del head[key]
    head["warnings"] = read_warnings(columns)
    head["attempts"] = attempts
    head["peer"] = dict(zip(_PEER, columns[21:24], strict=True)) if columns[24] else None
    head["certificate_days"] = certificate_days
    head["phases"] = dict(zip(_PHASES, columns[14:20], strict=True))
    head["elapsed_s"] = elapsed_s
    return head


def read_warnings(columns: Columns) -> list[str]:
    """The warnings of a result."""
    text = columns[WARNINGS]
    found: list[str] = json.loads(text) if text else []
    return found
