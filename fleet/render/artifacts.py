"""What a host should hold: rendered files, the services that read them, and what they need to be there.

Same inventory, same bytes: no clock, sorted iteration. These values are what `plan` compares with an
`ObservedHost`, what `push` writes, and what `fleet render` prints.
"""

import hashlib
from dataclasses import dataclass, field

from fleet.secrets.secret import MASK
from fleet.targets.file_check import FileCheck

__all__ = [
    "Content",
    "FileCheck",
    "FolderNeed",
    "Needs",
    "Program",
    "RenderedFile",
    "RenderedHost",
    "RenderedService",
    "make_program",
]


@dataclass(frozen=True, slots=True)
class Program:
    """Bytes that go to hosts as they are. No template makes them: whoever renders hands them in, hashed once."""

    content: bytes = field(repr=False)
    digest: str


def make_program(content: bytes) -> Program:
    """The value of a program's bytes."""
    return Program(content, hashlib.sha256(content).hexdigest())


Spans = tuple[tuple[int, int], ...]
"""Where secrets stand in a text, as characters from 0: sorted, without overlap."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file's text and where secrets stand in it."""

    text: str = field(repr=False)
    secrets: Spans = ()


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One file of one host. `content` is ASCII or UTF-8 text with LF and a final newline; a file that is a
    `program` has none, and `data` is what is written either way.

    `secrets` says where secrets stand in it, in clear: whoever shows such a file masks these (`holds_secrets`).

    `reloads` and `restarts` name the units that read it; `handler` is a team's own command (sh), run once
    after the switch however many files name it.
    """

    host: str
    path: str
    content: str = field(repr=False)
    mode: int = 0o644
    owner: str = "root:root"
    check: FileCheck | None = None
    restarts: tuple[str, ...] = ()
    reloads: tuple[str, ...] = ()
    handler: str | None = None
    program: Program | None = None
    secrets: Spans = ()

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        return self.content.encode() if self.program is None else self.program.content

    @property
    def holds_secrets(self) -> bool:
        """Whether its content, and a plain digest of it, may be seen by nobody who may not read the file."""
        return bool(self.secrets)

    @property
    def masked(self) -> str:
        """The content as it may be shown: every secret is three asterisks."""
        pieces: list[str] = []
        position = 0
        for start, end in self.secrets:
            pieces += (self.content[position:start], MASK)
            position = end
        return "".join((*pieces, self.content[position:]))

    @property
    def digest(self) -> str:
        """SHA-256 of the content, as `sha256sum` on the host prints it."""
        return hashlib.sha256(self.data).hexdigest() if self.program is None else self.program.digest


@dataclass(frozen=True, slots=True)
class RenderedService:
    """A systemd unit that should be enabled and running on a host; `ours` when we render its unit file.

    `port` is where it must listen afterwards (None: nothing to look at). `drain_s` is how long a restart may
    wait for its open associations.
    """

    unit: str
    ours: bool
    port: int | None = None
    drain_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FolderNeed:
    """A folder that must be there for a service; made when missing, never removed (storage areas, spools)."""

    path: str
    owner: str
    mode: int = 0o750


@dataclass(frozen=True, slots=True)
class Needs:
    """What a host must have before the first write: asked of all hosts first, and named for all."""

    programs: tuple[str, ...] = ()  # absolute paths, or names looked up on root's PATH
    users: tuple[str, ...] = ()
    folders: tuple[FolderNeed, ...] = ()
    pythons: tuple[str, ...] = ()  # absolute paths of interpreters that have to be new enough for the relay


@dataclass(frozen=True, slots=True)
class RenderedHost:
    """Everything that one host should hold, files sorted by path, services by unit."""

    host: str
    files: tuple[RenderedFile, ...] = ()
    services: tuple[RenderedService, ...] = ()
    needs: Needs = field(default_factory=Needs)
