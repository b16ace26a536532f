"""PS3.15 table E.1-1 as data, and which one action it comes to for an element under the options of a route.

A compound action leaves the choice to the type that an element has in its IOD. The choice here needs no IOD: of
what the action allows, that which is valid for every type (a dummy is valid where nothing is asked, an empty value
wherever it may be missing) and says nothing about the patient either way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final

# Options that need eyes, or a judgement that no table holds: refused with the word.
REFUSED_OPTIONS: Final = {
    "clean-pixel-data": "writing in the pixels is not found by this relay; instances that declare it are quarantined",
    "clean-recognizable-visual-features": "faces are not found in pixels by this relay",
}
# The options' words in the configuration, their columns in the table and their codes (PS3.16 CID 7050).
COLUMNS: Final = {
    "clean-graphics": "graphics",
    "clean-structured-content": "content",
    "clean-descriptors": "descriptors",
    "retain-longitudinal-full-dates": "full",
    "retain-longitudinal-modified-dates": "modified",
    "retain-patient-characteristics": "patient",
    "retain-device-identity": "device",
    "retain-institution-identity": "institution",
    "retain-uids": "uids",
    "retain-safe-private": "private",
}
PROFILE_CODE: Final = ("113100", "Basic Application Confidentiality Profile")
OPTION_CODES: Final = {
    "clean-graphics": ("113103", "Clean Graphics Option"),
    "clean-structured-content": ("113104", "Clean Structured Content Option"),
    "clean-descriptors": ("113105", "Clean Descriptors Option"),
    "retain-longitudinal-full-dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "retain-longitudinal-modified-dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "retain-patient-characteristics": ("113108", "Retain Patient Characteristics Option"),
    "retain-device-identity": ("113109", "Retain Device Identity Option"),
    "retain-uids": ("113110", "Retain UIDs Option"),
    "retain-safe-private": ("113111", "Retain Safe Private Option"),
    "retain-institution-identity": ("113112", "Retain Institution Identity Option"),
}


class Action(StrEnum):
    """What is done to an element; the values are the table's own letters."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    KEEP = "K"
    CLEAN = "C"
    UID = "U"
    UIDS_INSIDE = "U*"


# Valid for every type among what each compound allows: see the head of this page.
_BASIC: Final = {
    "X": Action.REMOVE,
    "Z": Action.EMPTY,
    "D": Action.DUMMY,
    "U": Action.UID,
    "X/Z": Action.EMPTY,
    "X/D": Action.DUMMY,
    "Z/D": Action.DUMMY,
    "X/Z/D": Action.DUMMY,
    "X/Z/U*": Action.UIDS_INSIDE,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One element of the table: its action by the basic profile, and by the columns of options."""

    tag: int
    keyword: str
    basic: str
    options: Mapping[str, str]

    @property
    def fallback(self) -> Action:
        """What the profile alone asks; also what happens to a value that cannot be cleaned."""
        return _BASIC[self.basic]

    def action(self, columns: frozenset[str]) -> Action:
        """The action under options: what one of them keeps is kept, else what one of them cleans is cleaned."""
        letters = {self.options[column] for column in columns if column in self.options}
        if Action.KEEP.value in letters:
            return Action.KEEP
        return Action.CLEAN if letters else self.fallback


@dataclass(frozen=True, slots=True)
class SafePrivate:
    """A private element that PS3.15 table E.3.10-1 holds to be safe."""

    vr: str
    least: int
    most: int


# Not in the table but the same in kind: names and times that later tables or other modules brought, and what can
# be turned back into the original.
_NAMES: Final = Row(0, "", "X", {})
_TIMES: Final = Row(0, "", "X", {"full": "K", "modified": "C"})
_ENCRYPTED: Final = Row(0x04000500, "EncryptedAttributesSequence", "X", {})


def find_row(tag: int, vr: str) -> Row | None:
    """The row of an element; None for one that the profile leaves alone."""
    row = read_table().get(tag)
    if row is not None:
        return row
    if tag == _ENCRYPTED.tag:
        return _ENCRYPTED
    if vr == "PN":
        return _NAMES
    return _TIMES if vr in {"DA", "DT", "TM"} else None


@cache
def read_table() -> Mapping[int, Row]:
    """The table by tag."""
    rows = {}
    for line in _lines("confidentiality.txt"):
        tag, keyword, basic, *options = line.split()
        columns = dict(option.split("=", 1) for option in options if option != "-")
        rows[int(tag, 16)] = Row(int(tag, 16), keyword, basic, columns)
    return rows


@cache
def read_safe_private() -> Mapping[tuple[str, int, int], SafePrivate]:
    """The safe private elements by creator, group and the element's last two digits."""
    rows = {}
    for line in _lines("private.txt"):
        group, element, vr, vm, creator = line.split(maxsplit=4)
        least, _, most = vm.partition("-")
        rows[creator, int(group, 16), int(element, 16)] = SafePrivate(vr, int(least), int(most or least))
    return rows


@cache
def read_words() -> frozenset[str]:
    """The words that a cleaned description may keep."""
    return frozenset(word for line in _lines("words.txt") for word in line.split())


def _lines(name: str) -> list[str]:
    text = files("fleet.relay.transform").joinpath(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]
