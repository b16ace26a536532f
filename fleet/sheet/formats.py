"""Sheets and firewall lists as text (one page a box), HTML (escaped, no script) and CSV (guarded).

Names and comments come from the inventory, whose authors a printing colleague need not trust: all of it passes
`safe_text`, `html.escape` or `guard_cell` (T53).
"""

import base64
import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Final

from fleet.sheet.boxes import Direction, OwnTitle, PeerRow, Sheet
from fleet.sheet.changes import BoxStatus
from fleet.sheet.firewall import Rule
from fleet.sheet.safe import guard_cell, safe_text
from fleet.sheet.trust import Need, TlsNeed

PAGE_BREAK: Final = "\f"
_UNKNOWN: Final = "unknown (DHCP)"
_OWN_HEAD: Final = ("AE title", "port", "services", "TLS")
_PEER_HEAD: Final = ("AE title", "address", "port", "services", "TLS", "your title")
_RULE_HEAD: Final = ("source", "destination", "protocol", "port", "why")
_SECTIONS: Final[Mapping[Direction, str]] = {
    Direction.IS_CALLED: "Systems that this box calls (type them in as remote systems)",
    Direction.CALLS_BOX: "Systems that call this box (allow them)",
}
_TLS_HEADING: Final = "TLS: what this box has to be given"


# What stands in the cells --------------------------------------------------------------------------------


def _own_cells(own: OwnTitle) -> tuple[str, ...]:
    port = "does not listen" if own.port is None else str(own.port)
    return (own.ae_title, port, ", ".join(own.services) or "-", "yes" if own.tls else "no")


def _peer_cells(row: PeerRow) -> tuple[str, ...]:
    port = "" if row.port is None else str(row.port)
    role = {"prober": " (check)", "health-check": " (load balancer's check)"}.get(row.role, "")
    services = ", ".join(row.services) + role
    addresses = ", ".join(row.addresses) or _UNKNOWN
    return (row.ae_title, addresses, port, services, "yes" if row.tls else "no", ", ".join(row.as_titles))


def _tls_words(need: TlsNeed) -> str:
    entry, name = f'"{need.certificate}"', f" for the name {need.name}" if need.name else ""
    match need.need:
        case Need.TRUST_CALLED:
            by = f"the CA {entry}" if need.certificate else "a CA that the inventory does not hold"
            return f"trust {by}: {need.peer} shows a certificate by it{name}"
        case Need.SHOW_CALLED:
            by = f"by the CA {entry}" if need.certificate else "that it takes (ask its owner)"
            return f"show {need.peer} a certificate of this box {by}: it lets nobody in without one"
        case Need.SHOW_CALLERS:
            by = f"by the CA {entry}" if need.certificate else "by a CA that the inventory does not hold"
            return f"where it is called, show a certificate of this box {by}{name}: its callers verify it"
        case Need.TRUST_CALLERS:
            return f"trust the CA of the certificate {entry}, which {need.peer} show it"


def _tls_lines(sheet: Sheet) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each need in words, with the certificates that are meant; what an entry holds is told once."""
    told: set[str] = set()
    for need in sheet.tls:
        yield _tls_words(need), tuple(each for each in need.holds if each not in told)
        told.update(need.holds)


def _state(status: BoxStatus) -> str:
    """The state and why; where the reason begins with the state, it is not said twice."""
    if not status.why or status.why.startswith(status.state.value):
        return status.why or status.state.value
    return f"{status.state}: {status.why}"


def _facts(status: BoxStatus) -> tuple[tuple[str, str], ...]:
    sheet = status.sheet
    facts = (
        ("name", sheet.name if sheet.name != sheet.box else ""),
        ("site", sheet.site),
        ("address", sheet.address or "on hosts of its own"),
        ("what it is", sheet.description),
        ("contact", sheet.contact),
        ("state", _state(status)),
        ("sheet", sheet.digest[:12]),
    )
    return tuple((key, value) for key, value in facts if value)


def _peers(sheet: Sheet, direction: Direction) -> list[tuple[str, ...]]:
    return [_peer_cells(row) for row in sheet.peers if row.direction is direction]


def _without_empty(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The table, head first, without columns that no row uses."""
    used = [column for column in range(len(head)) if any(row[column] for row in rows)]
    return [[row[column] for column in used] for row in (head, *rows)]


# Text ----------------------------------------------------------------------------------------------------


def format_sheets_text(statuses: Sequence[BoxStatus]) -> str:
    """One page a box, parted by form feeds."""
    return PAGE_BREAK.join("".join(f"{line}\n" for line in _page(status)) for status in statuses)


def _page(status: BoxStatus) -> Iterator[str]:
    title = safe_text(status.sheet.box)
    yield from (title, "=" * len(title), "")
    width = max(len(key) for key, _ in _facts(status)) + 2
    for key, value in _facts(status):
        yield f"{(key + ':').ljust(width)}{safe_text(value)}"
    if status.changes:
        yield from ("", "What changed since this box was last said to be done")
        yield from (f"  * {safe_text(change)}" for change in status.changes)
    yield from ("", "Its own titles")
    yield from _table(_OWN_HEAD, [_own_cells(own) for own in status.sheet.own])
    for direction, heading in _SECTIONS.items():
        rows = _peers(status.sheet, direction)
        yield from ("", heading)
        yield from _table(_PEER_HEAD, rows) if rows else ("  none",)
    yield from ("", _TLS_HEADING) if status.sheet.tls else ()
    for words, holds in _tls_lines(status.sheet):
        yield f"  * {safe_text(words)}"
        yield from (f"      {safe_text(each)}" for each in holds)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    table = [[safe_text(cell) for cell in row] for row in _without_empty(head, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for number, row in enumerate(table):
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if number == 0:
            yield "  " + "  ".join("-" * width for width in widths)


def format_firewall_text(rules: Sequence[Rule]) -> str:
    """The rules as one aligned table, one reason a line."""
    if not rules:
        return "no flow, prober or host needs a rule\n"
    rows = [cells for rule in rules for cells in _rule_lines(rule)]
    return "".join(f"{line.removeprefix('  ')}\n" for line in _table(_RULE_HEAD, rows))


def _rule_cells(rule: Rule) -> tuple[str, ...]:
    return (rule.source, rule.destination, rule.protocol, "" if rule.port is None else str(rule.port))


def _rule_lines(rule: Rule) -> Iterator[tuple[str, ...]]:
    for number, why in enumerate(rule.why):
        yield (*(_rule_cells(rule) if number == 0 else ("", "", "", "")), why)


# HTML ----------------------------------------------------------------------------------------------------

# No script at all, nothing from anywhere; the one style sheet is named by its hash (Content Security Policy level 3).
_STYLE: Final = (
    "body{font:11pt sans-serif;margin:2em}article{page-break-after:always}table{border-collapse:collapse}"
    "th,td{border:1px solid;padding:.2em .6em;text-align:left;vertical-align:top}"
    ".open{border-left:.5em solid;padding-left:1em}"
)


def format_sheets_html(statuses: Sequence[BoxStatus], title: str = "Sheets") -> str:
    """A document to print, one page a box."""
    return _document(title, "".join(_article(status) for status in statuses))


def format_firewall_html(rules: Sequence[Rule], title: str = "Firewall rules") -> str:
    """The rules as a document."""
    rows = [(*_rule_cells(rule), "; ".join(rule.why)) for rule in rules]
    return _document(title, f"<h1>{_html(title)}</h1>{_html_table(_RULE_HEAD, rows)}")


def _document(title: str, body: str) -> str:
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        f"<title>{_html(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )


def _article(status: BoxStatus) -> str:
    facts = "".join(f"<dt>{_html(key)}</dt><dd>{_html(value)}</dd>" for key, value in _facts(status))
    items = "".join(f"<li>{_html(change)}</li>" for change in status.changes)
    changes = f'<section class="open"><h2>What changed</h2><ul>{items}</ul></section>' if items else ""
    own = _html_table(_OWN_HEAD, [_own_cells(each) for each in status.sheet.own])
    sections = "".join(
        f"<h2>{_html(heading)}</h2>{_html_table(_PEER_HEAD, rows) if rows else '<p>none</p>'}"
        for direction, heading in _SECTIONS.items()
        for rows in [_peers(status.sheet, direction)]
    )
    head = f"<h1>{_html(status.sheet.box)}</h1><dl>{facts}</dl>"
    return f"<article>{head}{changes}<h2>Its own titles</h2>{own}{sections}{_html_tls(status.sheet)}</article>\n"


def _html_tls(sheet: Sheet) -> str:
    items = "".join(
        f"<li>{'<br>'.join(_html(line) for line in (words, *holds))}</li>" for words, holds in _tls_lines(sheet)
    )
    return f"<h2>{_html(_TLS_HEADING)}</h2><ul>{items}</ul>" if items else ""


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    first, *rest = _without_empty(head, rows)
    top = "".join(f"<th>{_html(cell)}</th>" for cell in first)
    body = "".join(f"<tr>{''.join(f'<td>{_html(cell)}</td>' for cell in row)}</tr>" for row in rest)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _html(text: str) -> str:
    return escape(safe_text(text))


# CSV -----------------------------------------------------------------------------------------------------


def format_sheets_csv(statuses: Sequence[BoxStatus]) -> str:
    """One line a title or peer of a box, and what TLS needs."""
    head = ("box", "box_address", "row", "ae_title", "address", "port", "services", "tls", "box_title", "state")
    return _csv(head, (row for status in statuses for row in _csv_rows(status)))


def _csv_rows(status: BoxStatus) -> Iterator[tuple[object, ...]]:
    sheet = status.sheet
    where = (sheet.box, sheet.address)
    for own in sheet.own:
        tls = "yes" if own.tls else "no"
        yield (*where, "own", own.ae_title, sheet.address, own.port, " ".join(own.services), tls, "", str(status.state))
    for row in sheet.peers:
        tls = "yes" if row.tls else "no"
        cells = (" ".join(row.addresses), row.port, " ".join(row.services), tls, " ".join(row.as_titles))
        yield (*where, str(row.direction), row.ae_title, *cells, str(status.state))
    for need in sheet.tls:
        words = "; ".join((_tls_words(need), *need.holds))
        yield (*where, str(need.need), need.peer, "", None, "", words, "", str(status.state))


def format_firewall_csv(rules: Sequence[Rule]) -> str:
    """One line a rule."""
    return _csv(_RULE_HEAD, ((*_rule_cells(rule), "; ".join(rule.why)) for rule in rules))


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([guard_cell(cell) for cell in row] for row in rows)
    return out.getvalue()
