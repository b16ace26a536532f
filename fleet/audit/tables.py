"""Node tables: whom does a server's own file admit, and does a flow allow it?

dcmqrscp's file is read as dcmqrscp reads it (dicom.md tables, tried with 3.6.7): a HostTable of symbolic names,
groups over them, an AETable whose last column names who may call. What `ANY` admits is everybody.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_PEER = re.compile(r"\(\s*([^,()]+?)\s*,\s*([^,()]+?)\s*,\s*([^,()]+?)\s*\)")
ANYBODY = "ANY"


@dataclass(frozen=True, slots=True, order=True)
class Admission:
    """One row that admits a caller: to this title, from this address."""

    called: str
    calling: str
    address: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something on a host that the inventory does not say; `code` is a stable kebab word."""

    host: str
    path: str
    code: str
    message: str


def parse_admissions(text: str) -> frozenset[Admission]:
    """Who a dcmqrscp.cfg admits to which of its titles."""
    names: dict[str, tuple[tuple[str, str], ...]] = {}
    admitted: set[Admission] = set()
    for table, line in _table_lines(text):
        if table == "HostTable":
            name, _, value = line.partition("=")
            names.setdefault(name.strip(), _peers(value, names))
        elif table == "AETable":
            called, peers = _ae_row(line, names)
            admitted |= {Admission(called, calling, address) for calling, address in peers}
    return frozenset(admitted)


def _table_lines(text: str) -> Iterator[tuple[str, str]]:
    table = ""
    for raw in text.splitlines():
        line = raw.strip()
        if not line or raw.startswith("#"):
            continue
        words = line.split()
        if len(words) == 2 and words[1] in ("BEGIN", "END"):
            table = words[0] if words[1] == "BEGIN" else ""
        elif table:
            yield table, line


def _peers(value: str, names: Mapping[str, tuple[tuple[str, str], ...]]) -> tuple[tuple[str, str], ...]:
    """Rows written out, and those of the symbolic names."""
    found = [(calling.strip("\"'"), address.strip("\"'")) for calling, address, _ in _PEER.findall(value)]
    for word in re.split(r"[\s,]+", _PEER.sub(" ", value)):
        if word == ANYBODY:
            found.append((ANYBODY, ANYBODY))
        found += names.get(word, ())
    return tuple(found)


def _ae_row(line: str, names: Mapping[str, tuple[tuple[str, str], ...]]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """`TITLE FOLDER ACCESS (quota) PEERS`; the quota is the first parenthesis without a third part."""
    called, *_ = line.split(maxsplit=1)
    head, closing, tail = line.partition(")")
    return called.strip("\"'"), _peers(tail if closing and "(" in head else line, names)


def check_admissions(host: str, path: str, rendered: str, observed: str) -> Iterator[Finding]:
    """What a host's live table admits beyond the flows, and whom it forgets; sorted."""
    wanted, live = parse_admissions(rendered), parse_admissions(observed)
    for row in sorted(live - wanted):
        who = "everybody (ANY)" if row.calling == ANYBODY else f"{row.calling} at {row.address}"
        text = (
            f"{row.called} admits {who}, which no flow of the inventory allows; add the flow, or apply to take it out"
        )
        yield Finding(host, path, "caller-not-in-inventory", text)
    for row in sorted(wanted - live):
        text = f"{row.called} does not admit {row.calling} at {row.address}, which a flow allows: it is refused there"
        yield Finding(host, path, "caller-missing-on-host", text)
