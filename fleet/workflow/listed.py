"""A sweep that needs no inventory: `ae_title,address,port[,calling]` lines."""

import csv
from pathlib import Path

from fleet.dicom.ae_title import check_ae_title, normalize_ae_title
from fleet.documents import read_bytes
from fleet.errors import InvalidInventory, Location, Problem, Severity
from fleet.verify.values import EchoTarget, Timeouts

_HEADER = ("ae_title", "address", "port")


def read_targets(path: Path, calling: str, timeouts: Timeouts) -> tuple[EchoTarget, ...]:
    """The targets of a file; a header line and empty lines are skipped, every bad line is told.

    Raises `UnreadableFile`, and `InvalidInventory` with all problems.
    """
    problems: list[Problem] = []
    targets: list[EchoTarget] = []

    def wrong(line: int, message: str) -> None:
        problems.append(Problem("target-line", Severity.ERROR, message, Location(str(path), line, 1)))

    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        wrong(1, "not UTF-8 text; save it as UTF-8")
        text = ""
    rows = csv.reader(text.splitlines())
    for row in rows:
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#") or (rows.line_num == 1 and tuple(cells[:3]) == _HEADER):
            continue
        reason = _reason(cells)
        if reason is not None:
            wrong(rows.line_num, reason)
            continue
        title, address, port = cells[:3]
        own = cells[3] if len(cells) == 4 and cells[3] else calling
        targets.append(EchoTarget(normalize_ae_title(title), address, int(port), own, timeouts=timeouts))
    if not targets and not problems:
        wrong(1, "no target in it; one line is ae_title,address,port[,calling]")
    if problems:
        raise InvalidInventory(tuple(problems), "list of targets")
    return tuple(targets)


def _reason(cells: list[str]) -> str | None:
    """Why a line is no target; None where it is one."""
    if len(cells) not in (3, 4):
        return f"{len(cells)} fields; a line is ae_title,address,port[,calling]"
    for title in (cells[0], *cells[3:]):
        reason = check_ae_title(title) if title or title is cells[0] else None
        if reason:
            return f"the AE title {title!r} {reason}"
    if not cells[1]:
        return "the address is empty"
    if not (cells[2].isascii() and cells[2].isdigit() and 1 <= int(cells[2][:6]) <= 65535):
        return f"the port {cells[2]!r} is no number from 1 to 65535"
    return None
