"""dcmqrscp.cfg as dcmqrscp reads it: who is admitted, where images lie, and where a C-MOVE goes."""

import re
from dataclasses import dataclass, field

from fleet.audit.tables import ANYBODY, Admission, parse_admissions
from fleet.demo.scp import Place
from fleet.demo.units import CannotStartError

_ROW = re.compile(r"=\s*\(\s*([^,()\s]+)\s*,\s*([^,()\s]+)\s*,\s*([0-9]+)\s*\)\s*$")


@dataclass(slots=True)
class _Draft:
    port: int = 0
    rows: list[tuple[str, Place]] = field(default_factory=list)
    areas: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ArchiveTables:
    """One archive's file: `rows` of the HostTable in their order, `areas` by title."""

    port: int
    rows: tuple[tuple[str, Place], ...]
    areas: dict[str, str]
    admissions: frozenset[Admission]

    def find_destination(self, ae_title: str) -> Place | None:
        """Where a C-MOVE to this title goes: the first row that has it, and nobody asks whether there is another."""
        return next((place for title, place in self.rows if title == ae_title), None)

    def admits(self, called: str, calling: str, address: str) -> bool:
        """Whether the title and the address (`-dhl`) of a caller stand in one row for this title."""
        rows = {Admission(called, calling, address), Admission(called, ANYBODY, ANYBODY)}
        return bool(rows & self.admissions)


def parse_archive_tables(text: str) -> ArchiveTables:
    """The file; `CannotStartError` in dcmqrscp's manner where it would not start."""
    draft = _Draft()
    table = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        words = raw.split()
        if raw.startswith("#") or not words:
            continue
        if len(words) == 2 and words[1] in {"BEGIN", "END"}:
            table = words[0] if words[1] == "BEGIN" else ""
        else:
            _read_line(draft, table, raw, number)
    if not draft.areas:
        raise CannotStartError("F: no AETable")
    return ArchiveTables(draft.port, tuple(draft.rows), draft.areas, parse_admissions(text))


def _read_line(draft: _Draft, table: str, line: str, number: int) -> None:
    if table == "HostTable" and (found := _ROW.search(line)):
        draft.rows.append((found[1], Place(found[2], int(found[3]))))
    elif table == "AETable":
        words = line.split()
        if len(words) < 4:
            raise CannotStartError(f"F: configuration line {number}: an AE needs a folder, an access and its peers")
        draft.areas[words[0]] = words[1]
    elif not table and line.replace(" ", "").startswith("NetworkTCPPort="):
        draft.port = int(line.partition("=")[2])
