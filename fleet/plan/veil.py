"""A diff of a file that holds secrets: everything but these, and a fingerprint in the place of each.

The new file says where its secrets stand. The old one came from a host and says nothing, and what it holds may still
be in use elsewhere: of it a line is shown where the new file has the very line without a secret in it, and where it
is like a line of the new file around the secret; every other line is hidden.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from fleet.plan.steps import FileState
from fleet.render.artifacts import RenderedFile
from fleet.secrets.fingerprint import Fingerprint, hide_unknown

HIDDEN: Final = "(a line that is not shown: it may hold a secret)"
# Trying where several secrets could stand in a line costs a power of its length, and a host may send any line (T40).
_LONGEST: Final = 1000
# A relay's file is for its user alone because of whom it names; fleet never puts a secret into it.
_NEVER_SECRET: Final = re.compile(r"/etc/fleet/relay-[^/]+\.json\Z")


@dataclass(frozen=True, slots=True)
class Veil:
    """How a file of a host may be shown: `file` is what should be there, None where nothing should."""

    file: RenderedFile | None = None
    fingerprint: Fingerprint = field(default=hide_unknown, repr=False)

    def covers(self, path: str, before: FileState | None) -> bool:
        """Whether a diff of the file may show anything that nobody but its readers on the host may see."""
        if self.file is not None and self.file.holds_secrets:
            return True
        return before is not None and not before.mode & 0o004 and not _NEVER_SECRET.match(path)

    def new_lines(self) -> list[str]:
        """The lines of what should be there, a fingerprint in the place of each secret."""
        return _split("".join(self._pieces())) if self.file is not None else []

    def old_lines(self, text: str) -> list[str]:
        """The lines of what is there, as far as they may be shown."""
        file = self.file
        if file is not None and file.secrets == ((0, len(file.content)),):
            return [self.fingerprint(text)]
        plain, alike = self._patterns()
        return [self._shown(line, plain, alike) for line in _split(text)]

    def _shown(self, line: str, plain: frozenset[str], alike: tuple[re.Pattern[str], ...]) -> str:
        if line in plain:
            return line
        if len(line) > _LONGEST:
            return HIDDEN
        for pattern in alike:
            if found := pattern.fullmatch(line):
                return self._around(found, line)
        return HIDDEN

    def _around(self, found: re.Match[str], line: str) -> str:
        pieces, position = [], 0
        for number in range(1, (found.re.groups or 0) + 1):
            pieces += [line[position : found.start(number)], self.fingerprint(found[number])]
            position = found.end(number)
        return "".join((*pieces, line[position:]))

    def _pieces(self) -> Iterator[str]:
        assert self.file is not None  # noqa: S101 - the callers looked
        position = 0
        for start, end in self.file.secrets:
            yield self.file.content[position:start]
            yield self.fingerprint(self.file.content[start:end])
            position = end
        yield self.file.content[position:]

    def _patterns(self) -> tuple[frozenset[str], tuple[re.Pattern[str], ...]]:
        """The new file's lines without a secret, and what its lines with one are like."""
        if self.file is None:
            return frozenset(), ()
        plain: set[str] = set()
        alike: dict[str, None] = {}
        offset = 0
        for line in self.file.content.split("\n"):
            spans = [(start - offset, end - offset) for start, end in self.file.secrets]
            within = [(max(start, 0), min(end, len(line))) for start, end in spans if start < len(line) and end > 0]
            if within:
                alike[_pattern(line, within)] = None
            else:
                plain.add(line)
            offset += len(line) + 1
        return frozenset(plain), tuple(re.compile(pattern) for pattern in alike)


def _pattern(line: str, spans: list[tuple[int, int]]) -> str:
    pieces, position = [], 0
    for start, end in spans:
        pieces += [re.escape(line[position:start]), "(.+)"]
        position = end
    return "".join((*pieces, re.escape(line[position:])))


def _split(text: str) -> list[str]:
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines
