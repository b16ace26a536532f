"""Application Entity titles: the one place that knows their grammar.

PS3.5 section 6.2 (VR of AE) and PS3.8 section 9.3.2: up to 16 characters of the default character
repertoire (ISO 646 G0), no backslash, no control character, leading and trailing spaces not
significant, and not spaces alone. Case matters, although archives in use fold it: hence two
normal forms, one that tells titles apart and one that finds twins.
"""

import re
from typing import Self

MAX_CHARACTERS = 16

# ISO 646 G0 is 20H to 7EH; 5CH (backslash) separates values and so cannot be part of one.
_LEGAL = re.compile(r" *(?=[^ ])[\x20-\x5b\x5d-\x7e]{0,15}[\x21-\x5b\x5d-\x7e] *", re.ASCII)
_PLAIN = re.compile(r"[A-Z0-9_.-]{1,16}")


class InvalidAETitleError(ValueError):
    """Text that cannot be an AE title."""


def check_ae_title(text: str) -> str | None:
    """Return None when *text* is a legal title, else the reason in words."""
    if _LEGAL.fullmatch(text):
        return None
    return _reason(text)


def _reason(text: str) -> str:
    for character in text:
        if character == "\\":
            return "holds a backslash, which separates values in DICOM"
        if character < " " or character == "\x7f":
            return f"holds the control character {ord(character):02X}H"
        if character > "~":
            shown = f"{character!r} (U+{ord(character):04X})"
            return f"holds {shown}, which is outside the default character repertoire (ISO 646)"
    trimmed = text.strip(" ")
    if not trimmed:
        return "is empty" if not text else "is nothing but spaces"
    return f"is {len(trimmed)} characters long; {MAX_CHARACTERS} is the most"


def normalize_ae_title(text: str) -> str:
    """Trim the outer spaces, which do not count; the case stays."""
    return text.strip(" ")


def fold_ae_title(text: str) -> str:
    """Return the form in which archives that fold case see *text*: equal forms are twins."""
    return text.strip(" ").casefold()


def is_plain_ae_title(text: str) -> bool:
    """Say whether *text* keeps to the characters that every product can carry."""
    return _PLAIN.fullmatch(text) is not None


def encode_ae_title(text: str) -> bytes:
    """Return the 16 bytes of an A-ASSOCIATE PDU, padded with spaces (PS3.8 table 9-11)."""
    if not _LEGAL.fullmatch(text):
        raise InvalidAETitleError(f"the AE title {text!r} {_reason(text)}")
    return text.strip(" ").encode("ascii").ljust(MAX_CHARACTERS)


def decode_ae_title(field: bytes) -> str:
    """Read a title field as peers send it: blank, NUL-terminated or not ASCII at all. Never raises."""
    return field.split(b"\0", 1)[0].decode("latin-1").strip(" ")


class AETitle(str):
    """A legal title, trimmed; making one of anything else raises InvalidAETitleError."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        reason = check_ae_title(text)
        if reason is not None:
            raise InvalidAETitleError(f"the AE title {text!r} {reason}")
        return super().__new__(cls, text.strip(" "))
