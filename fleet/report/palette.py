"""Colours as a value: empty when colour is off, so that text is made the same way with and without them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Palette:
    """What stands before a word of each style (ECMA-48 SGR), and what ends it; all empty by default."""

    good: str = ""
    bad: str = ""
    warn: str = ""
    dim: str = ""
    bold: str = ""
    end: str = ""

    def paint(self, style: str, text: str) -> str:
        """`text` in a style: good, bad, warn, dim, bold; any other word leaves it as it is."""
        start = getattr(self, style) if style in _STYLES else ""
        return f"{start}{text}{self.end}" if start else text


_STYLES = frozenset({"good", "bad", "warn", "dim", "bold"})
PLAIN = Palette()
COLOR = Palette(good="\x1b[32m", bad="\x1b[31m", warn="\x1b[33m", dim="\x1b[2m", bold="\x1b[1m", end="\x1b[0m")
