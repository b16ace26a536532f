"""Text as it may stand in a rendered file: lines, their length, their alphabet (T16, T17).

A value that breaks out of its line is the root of every injection into these formats, so control characters
are refused here once, for every product.
"""

import re
from collections.abc import Iterator

from fleet.documents.hidden import find_hidden

# C0 but for tab, LF and CR, DEL and C1: a carriage return is told as the line end that it would be.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def explain_control(text: str) -> str | None:
    """Why a text may not stand within one line; None where it may."""
    for character in text:
        if character < " " or "\x7f" <= character <= "\x9f" or character in "\u2028\u2029":
            return (
                f"it holds the control character U+{ord(character):04X}, which would begin another line or end the text"
            )
    hidden = find_hidden(text)
    return None if hidden is None else f"it holds U+{ord(text[hidden]):04X}, which nobody sees"


def find_unfit(text: str) -> int | None:
    """Where a text of many lines holds what no reader of it sees: a control character or a hidden one (T11)."""
    control = _CONTROL.search(text)
    found = [at for at in (control.start() if control else None, find_hidden(text)) if at is not None]
    return min(found, default=None)


def explain_long_lines(text: str, max_bytes: int) -> Iterator[str]:
    """Lines that are longer than a product reads, in words."""
    for number, line in enumerate(text.split("\n"), start=1):
        size = len(line.encode())
        if size > max_bytes:
            yield f"line {number} has {size} bytes; {max_bytes} is the most that is read safely"


def explain_form(text: str, *, ascii_only: bool) -> Iterator[str]:
    """What keeps a text from being LF lines with a final newline (and ASCII where the product wants it)."""
    if "\r" in text:
        yield f"line {text[: text.index(chr(13))].count(chr(10)) + 1} holds a carriage return; lines end in LF alone"
    if not text.endswith("\n"):
        yield "the last line has no newline, and some readers drop such a line"
    unfit = find_unfit(text)
    if unfit is not None:
        what = "a NUL" if text[unfit] == "\0" else f"U+{ord(text[unfit]):04X}, which nobody sees"
        yield f"line {text.count(chr(10), 0, unfit) + 1} holds {what}"
    lone = next((index for index, character in enumerate(text) if "\ud800" <= character <= "\udfff"), None)
    if lone is not None:
        yield f"line {text.count(chr(10), 0, lone) + 1} holds {text[lone]!a}, half a character that no file can hold"
    elif ascii_only and not text.isascii():
        at = next(index for index, character in enumerate(text) if not character.isascii())
        line = text.count("\n", 0, at) + 1
        yield f"line {line} holds {text[at]!a}, which is not ASCII"


def encode_path_part(text: str) -> str:
    """A title as a part of paths and unit names: plain characters stay, others become `:XX`; no two meet."""
    plain = "".join(
        character if character.isascii() and (character.isalnum() or character in "_-.") else f":{ord(character):02X}"
        for character in text
    )
    return f":2E{plain[1:]}" if plain.startswith(".") else plain
