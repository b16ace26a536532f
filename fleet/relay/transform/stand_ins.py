"""Values that stand for removed ones: dummies by VR, cleaned words, shifted dates."""

import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any, Final

from fleet.relay.transform.table import read_words

DUMMY_TEXT: Final = "ANONYMIZED"
# A dummy of each VR, valid by PS3.5 table 6.2-1.
_DUMMIES: Final[dict[str, Any]] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), DUMMY_TEXT),
    "AS": "000Y",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "urn:anonymized",
    **dict.fromkeys(("DS", "IS"), "0"),
    **dict.fromkeys(("FL", "FD"), 0.0),
    **dict.fromkeys(("SL", "SS", "SV", "UL", "US", "UV", "AT"), 0),
    **dict.fromkeys(("OB", "OD", "OF", "OL", "OV", "OW", "UN"), b"\0" * 8),
}
TEXTS: Final = frozenset({"CS", "LO", "LT", "SH", "ST", "UC", "UT"})
_LIMITS: Final = {"CS": 16, "SH": 16, "LO": 64}
_MEASURE: Final = re.compile(r"[0-9]{1,3}(?:[.,][0-9]{1,2})?(?:mm|cm|t|kv|kvp|s|sec|ms|%)")
_OLD_DATE: Final = re.compile(r"([0-9]{4})\.([0-9]{2})\.([0-9]{2})")
_DATE: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")


def make_dummy(vr: str, count: int = 1) -> Any:
    """A value without meaning, as many times as the element has to have it. Raises `KeyError` for a sequence."""
    return _DUMMIES[vr] if count < 2 else [_DUMMIES[vr]] * count


def split_words(text: str) -> list[str]:
    """The words of a text in lower case, also those of names (`DOE^JANE` is two)."""
    return [word for word in re.split(r"[\s\\^=,;:_()\[\]{}<>|\"'/&+-]+", text.casefold()) if word]


def clean_text(text: str, forbidden: frozenset[str], vr: str) -> str:
    """What is left of a description when only known words and small measures stay (PS3.15 E.3.5 note 2).

    A known word that is part of this patient's identity goes as well (`Dr. Hand`).
    """
    safe = read_words()
    kept = [
        word
        for word in re.split(r"[\s,;:_()\[\]\\^=]+", text)
        if (word.casefold() in safe or _MEASURE.fullmatch(word.casefold()))
        and not forbidden.intersection(split_words(word))
    ]
    cleaned = ("_" if vr == "CS" else " ").join(kept)
    limit = _LIMITS.get(vr)
    return (cleaned[:limit] if limit else cleaned).strip(" _")


def shift_values(vr: str, texts: Sequence[str], days: int) -> list[str] | None:
    """Dates some days earlier, times as they are; None where one of them cannot be read."""
    shift: dict[str, Callable[[str, int], str | None]] = {"DA": _shift_date, "DT": _shift_date_time, "TM": _keep_time}
    shifted = [shift[vr](text.strip(" \0"), days) if text.strip(" \0") else "" for text in texts]
    return None if None in shifted else [text for text in shifted if text is not None]


def _shift_date(text: str, days: int) -> str | None:
    found = _DATE.fullmatch(text) or _OLD_DATE.fullmatch(text)
    if found is None:
        return None
    try:
        return f"{date(int(found[1]), int(found[2]), int(found[3])) - timedelta(days=days):%Y%m%d}".zfill(8)
    except (ValueError, OverflowError):
        return None


def _shift_date_time(text: str, days: int) -> str | None:
    """PS3.5 6.2: YYYYMMDDHHMMSS.FFFFFF&ZZXX; with less than a day there is nothing to shift by."""
    if not re.fullmatch(r"[0-9]{8}(?:[0-9]{2}){0,3}(?:\.[0-9]{1,6})?(?:[+-][0-9]{4})?", text):
        return None
    shifted = _shift_date(text[:8], days)
    return shifted and shifted + text[8:]


def _keep_time(text: str, _days: int) -> str | None:
    return text if re.fullmatch(r"[0-9]{2}:?(?:[0-9]{2}:?(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)?", text) else None
