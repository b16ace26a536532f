"""What changed on a sheet since a person typed it, and which boxes are therefore open: pure functions over marks.

A box is open when its sheet is another than the one it was last said to hold, or when it came after the first
apply and nobody has marked it yet. The first apply takes what it finds as typed (`assumed` marks): those boxes are
`unconfirmed`, told in one line together, so that a first run on sixty boxes buries nobody; they open with their
first change. Before any mark at all, every box is unconfirmed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from fleet.sheet.boxes import Sheet

_TYPED_KEYS: Final = ("addresses", "port", "services", "tls", "as_titles", "certificate", "name", "holds")
_WORDS: Final[Mapping[str, str]] = {"as_titles": "as", "addresses": "address", "holds": "of"}

# What changed --------------------------------------------------------------------------------------------


def changed_since(old: Mapping[str, Any], new: Sheet) -> tuple[str, ...]:
    """What to add, take out and change in the box, in words; empty when nothing is to be typed.

    `old` is the `to_json()` of the sheet that the box was last said to hold.
    """
    now = new.typed()
    lines = []
    if old.get("address") != now["address"]:
        lines.append(f"its own address was {old.get('address') or 'unknown'} and is {now['address'] or 'unknown'}")
    lines += _compare(old.get("own", ()), now["own"], ("ae_title",), "own title")
    lines += _compare(old.get("peers", ()), now["peers"], ("direction", "ae_title"), "peer")
    lines += _compare(old.get("tls", ()), now.get("tls", ()), ("direction", "peer"), "TLS of")
    return tuple(lines)


def _compare(
    old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]], keys: tuple[str, ...], what: str
) -> list[str]:
    before = _group(old, keys)
    after = _group(new, keys)
    lines = []
    for key in sorted({*before, *after}):
        was, now = before.get(key, []), after.get(key, [])
        if was == now:
            continue
        gone = [row for row in was if row not in now]
        come = [row for row in now if row not in was]
        if len(gone) == len(come) == 1:
            lines.append(f"change {what} {key[-1]}{_direction(come[0])}: {_differences(gone[0], come[0])}")
            continue
        lines += [f"take out {what} {key[-1]}{_direction(row)}: {_describe(row)}" for row in gone]
        lines += [f"add {what} {key[-1]}{_direction(row)}: {_describe(row)}" for row in come]
    return lines


def _group(rows: Iterable[Mapping[str, Any]], keys: tuple[str, ...]) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    grouped: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(tuple(str(row.get(key)) for key in keys), []).append(row)
    return grouped


def _direction(row: Mapping[str, Any]) -> str:
    return f" ({row['direction']})" if "direction" in row else ""


def _describe(row: Mapping[str, Any]) -> str:
    told = [key for key in _TYPED_KEYS if row.get(key)]
    return ", ".join(f"{_WORDS.get(key, key)} {_value(row[key])}" for key in told)


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changed = [key for key in _TYPED_KEYS if was.get(key) != now.get(key)]
    return "; ".join(
        f"{_WORDS.get(key, key)} was {_value(was.get(key))} and is {_value(now.get(key))}" for key in changed
    )


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(str(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


# Open and done -------------------------------------------------------------------------------------------


class Mark(Protocol):
    """What a box was last said to hold (the history's `SheetMark`)."""

    @property
    def digest(self) -> str:
        """The digest of that sheet."""

    @property
    def sheet(self) -> Mapping[str, Any]:
        """That sheet's `to_json()`."""

    @property
    def kind(self) -> str:
        """`done`: a person said so; `assumed`: the first apply took it as found."""


class BoxState(StrEnum):
    """Whether a person has to go there."""

    OPEN = "open"
    UNCONFIRMED = "unconfirmed"
    DONE = "done"
    UNCHANGED = "unchanged"  # of a comparison, which knows no marks and so cannot say `done`


@dataclass(frozen=True, slots=True)
class BoxStatus:
    """A box, its sheet, and what is to be typed."""

    sheet: Sheet
    state: BoxState
    why: str = ""
    changes: tuple[str, ...] = ()


def decide_boxes(sheets: Iterable[Sheet], marks: Mapping[str, Mark]) -> tuple[BoxStatus, ...]:
    """Which boxes are open, unconfirmed or done; in the order of the sheets."""
    return tuple(_decide(sheet, marks.get(sheet.box), bool(marks)) for sheet in sheets)


def _decide(sheet: Sheet, mark: Mark | None, has_marks: bool) -> BoxStatus:
    if mark is None:
        if has_marks:
            return BoxStatus(sheet, BoxState.OPEN, "new: nobody has said that it holds its sheet")
        return BoxStatus(sheet, BoxState.UNCONFIRMED)
    if mark.digest == sheet.digest:
        return BoxStatus(sheet, BoxState.DONE if mark.kind == "done" else BoxState.UNCONFIRMED)
    changes = changed_since(mark.sheet, sheet)
    since = "it was marked done" if mark.kind == "done" else "the first apply"
    return BoxStatus(sheet, BoxState.OPEN, f"{len(changes)} to change since {since}", changes)


def compare_sheets(old: Iterable[Sheet], new: Iterable[Sheet], since: str) -> tuple[BoxStatus, ...]:
    """What changed between two inventories, whatever was marked.

    `open` where something is to be typed, else `unchanged`: whether anybody ever said that it is done is not asked.
    """
    before = {sheet.box: sheet for sheet in old}
    return tuple(_compare_one(before.get(sheet.box), sheet, since) for sheet in new)


def _compare_one(old: Sheet | None, new: Sheet, since: str) -> BoxStatus:
    if old is None:
        return BoxStatus(new, BoxState.OPEN, f"new since {since}")
    changes = changed_since(old.typed(), new)
    if not changes:
        return BoxStatus(new, BoxState.UNCHANGED, f"unchanged since {since}")
    return BoxStatus(new, BoxState.OPEN, f"{len(changes)} to change since {since}", changes)


def open_boxes(sheets: Iterable[Sheet], marks: Mapping[str, Mark]) -> tuple[BoxStatus, ...]:
    """Only the open ones."""
    return tuple(status for status in decide_boxes(sheets, marks) if status.state is BoxState.OPEN)
