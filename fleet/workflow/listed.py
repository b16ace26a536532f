"""A sweep that needs no inventory: `ae_title,address,port[,calling]` lines, and nothing of the inventory is loaded."""

import csv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fleet.dicom.ae_title import check_ae_title, normalize_ae_title
from fleet.errors import EmptySelection, InvalidInventory, Location, Problem, Severity, UnreadableFile
from fleet.events import ItemFinished, StageStarted, ignore
from fleet.report.history.opening import History
from fleet.report.summary import EchoLine
from fleet.verify.values import EchoResult, EchoTarget, Timeouts
from fleet.workflow.context import Context
from fleet.workflow.ledger import Ledger
from fleet.workflow.sweeping import (
    Asking,
    ask_directly,
    prepare_comparison,
    record_as_heard,
    tell_comparison,
    was_interrupted,
)

MAX_LIST_BYTES = 64 * 1024 * 1024  # two million lines
_HEADER = ("ae_title", "address", "port")


class ListedSweep:
    """One run over a list. A list belongs to no fleet: it is compared with other lists."""

    def __init__(self, context: Context, ledger: Ledger, history: History | None) -> None:
        self._context = context
        self._ledger = ledger
        self._history = history
        if history is not None:
            history.concern("")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing was opened."""

    def verify(
        self, targets: Sequence[EchoTarget], asking: Asking, *, compare: str | None = None
    ) -> tuple[EchoResult, ...]:
        """Ask these targets; Ctrl-C is raised again when every result was heard."""
        ledger, observer = self._ledger, self._context.observer
        before = prepare_comparison(compare, ledger, self._history)
        observer(StageStarted("echo", len(targets)))

        def finished(result: EchoResult) -> None:
            observer(ItemFinished("echo", result.target.ae_title, result.outcome.value, result.detail))
            ledger.echo(result)

        hear = ledger.echo if observer is ignore else finished
        results = tuple(ask_directly(targets, record_as_heard(asking, ledger), hear))
        if was_interrupted(results):
            raise KeyboardInterrupt
        tell_comparison(before, ledger, self._context)
        return results

    def failed_among(self, targets: Sequence[EchoTarget]) -> tuple[EchoTarget, ...]:
        """Those that the last run found not as desired: what `@failed` means without an inventory.

        A list may hold one title at several places: those where it was as desired are not asked again.
        """
        failed = self._history.failed_names() if self._history else ()
        if self._history and (cut_off := self._history.describe_cut_off()):
            self._ledger.note(cut_off)
        if not failed:
            raise EmptySelection("@failed: the last run had no failures; nothing was done")
        last = self._history.last_sweep() if self._history else None
        fine = {_place_of(line) for line in last[1] if line.as_desired} if last is not None else set()
        found = tuple(
            target
            for target in targets
            if target.ae_title in failed and (target.ae_title, target.address, target.port, target.calling) not in fine
        )
        if not found:
            raise EmptySelection(
                f"@failed: none of {', '.join(failed[:5])} is in the list of targets; nothing was asked"
            )
        return found

    def tell_page(self) -> str:
        """The page for people is of an inventory."""
        return ""


def _place_of(line: EchoLine) -> tuple[object, ...]:
    return tuple(line.value(key) for key in ("ae_title", "address", "port", "calling"))


def read_targets(path: Path, calling: str, timeouts: Timeouts, per_host: int = 1) -> tuple[EchoTarget, ...]:
    """The targets of a file; a header line and empty lines are skipped, every bad line is told.

    No inventory says what a device bears, so `per_host`, the flag, is what holds at each address.

    Raises `UnreadableFile`, and `InvalidInventory` with all problems.
    """
    problems: list[Problem] = []
    targets: list[EchoTarget] = []

    def wrong(line: int, message: str) -> None:
        problems.append(Problem("target-line", Severity.ERROR, message, Location(str(path), line, 1)))

    try:
        text = _read_list(path).decode("utf-8-sig")
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
        title = normalize_ae_title(title)
        targets.append(
            EchoTarget(title, address, int(port), own, timeouts=timeouts, max_associations_per_host=per_host)
        )
    if not targets and not problems:
        wrong(1, "no target in it; one line is ae_title,address,port[,calling]")
    if problems:
        raise InvalidInventory(tuple(problems), "list of targets")
    return tuple(targets)


def _read_list(path: Path) -> bytes:
    if not path.is_file():
        raise UnreadableFile(f"{path}: no regular file; nobody was asked")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_LIST_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}; nobody was asked") from error
    if len(data) > MAX_LIST_BYTES:
        raise UnreadableFile(f"{path}: larger than {MAX_LIST_BYTES >> 20} MB; cut it into several; nobody was asked")
    return data


def _reason(cells: list[str]) -> str | None:
    """Why a line is no target; None where it is one."""
    if len(cells) not in (3, 4):
        number = "1 field" if len(cells) == 1 else f"{len(cells)} fields"
        other = "; commas part them, not semicolons" if ";" in cells[0] else ""
        return f"{number}; a line is ae_title,address,port[,calling]{other}"
    for title in (cells[0], *cells[3:]):
        reason = check_ae_title(title) if title or title is cells[0] else None
        if reason:
            return f"the AE title {title!r} {reason}"
    if not cells[1]:
        return "the address is empty"
    if not (cells[2].isascii() and cells[2].isdigit() and len(cells[2]) <= 5 and 1 <= int(cells[2]) <= 65535):
        return f"the port {cells[2]!r} is no number from 1 to 65535"
    return None
