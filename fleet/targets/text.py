"""Text as it may stand in a rendered file: lines, their length, their alphabet (T16, T17).

A value that breaks out of its line is the root of every injection into these formats, so control characters
are refused here once, for every product.
"""

from collections.abc import Iterator


def explain_control(text: str) -> str | None:
    """Why a text may not stand within one line; None where it may."""
    for character in text:
        if character < " " or "\x7f" <= character <= "\x9f" or character in "\u2028\u2029":
            return (
                f"it holds the control character U+{ord(character):04X}, which would begin another line or end the text"
            )
    return None


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
    if "\x00" in text:
        yield f"line {text[: text.index(chr(0))].count(chr(10)) + 1} holds a NUL"
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
