"""How the demo speaks: 80 columns, commands as one would type them, claims that were checked."""

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_WIDTH = 79
Tell = Callable[[str], None]


@dataclass
class Teller:
    """Tells the story line by line; `hidden` is the folder that need not stand before every path."""

    tell: Tell
    hidden: str = ""
    failures: list[str] = field(default_factory=list)

    def head(self, text: str) -> None:
        """A new part of the story."""
        self.tell("")
        self.tell(text)

    def say(self, text: str) -> None:
        """A sentence or two."""
        for line in textwrap.wrap(text, _WIDTH - 2, break_on_hyphens=False):
            self.tell(f"  {line}")

    def command(self, text: str) -> None:
        """What one would type."""
        self.tell(f"  $ {text}")

    def show(self, text: str | Iterable[str]) -> None:
        """What it answers; long lines are broken, never cut."""
        for line in text.splitlines() if isinstance(text, str) else text:
            told = line.replace(f"{self.hidden}/", "") if self.hidden else line
            self.tell(textwrap.indent("\n".join(_break(told)), "    "))

    def claim(self, is_true: bool, text: str) -> None:
        """Something that the story says and the code has just looked at."""
        if not is_true:
            self.failures.append(text)
        mark = "ok" if is_true else "NOT SO"
        for number, line in enumerate(textwrap.wrap(text, _WIDTH - 6 - len(mark), break_on_hyphens=False)):
            self.tell(f"  {mark if number == 0 else ' ' * len(mark)}  {line}")


def _break(line: str) -> list[str]:
    if len(line) <= _WIDTH - 4:
        return [line]
    return textwrap.wrap(
        line,
        _WIDTH - 4,
        subsequent_indent="      ",
        break_on_hyphens=False,
        break_long_words=False,
        replace_whitespace=False,
    )
