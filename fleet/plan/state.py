"""What was read from a host, as values: the counterpart of `RenderedHost`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from fleet.plan.manifest import Manifest


class FileKind(StrEnum):
    """What stands at a path. Only `file` and `absent` can be written over."""

    FILE = "file"
    ABSENT = "absent"
    SYMLINK = "symlink"
    FOLDER = "directory"
    OTHER = "other"
    UNREADABLE = "unreadable"  # there, but the user that we log in as may not read it
    UNSAFE = "unsafe"  # a folder above it is a symbolic link that not only root could have made


@dataclass(frozen=True, slots=True)
class ObservedFile:
    """A path on a host as it was read; `managed` when the host's manifest knows it.

    `content` is None when it is as rendered, too large to send, or has a second hard link; `owner` is None
    where the host cannot tell (a plain user's folder that stands for a host).
    """

    path: str
    kind: FileKind = FileKind.ABSENT
    digest: str | None = None
    mode: int | None = None
    owner: str | None = None
    content: bytes | None = field(default=None, repr=False)
    links: int = 1
    managed: bool = False


@dataclass(frozen=True, slots=True)
class ObservedService:
    """A systemd unit as `systemctl show` tells it (org.freedesktop.systemd1(5))."""

    unit: str
    load: str = "not-found"
    active: str = "inactive"
    enabled: str = ""
    needs_daemon_reload: bool = False
    automatic_restarts: int = 0

    @property
    def exists(self) -> bool:
        """Whether systemd knows a unit file of that name."""
        return self.load != "not-found"

    @property
    def is_active(self) -> bool:
        """Whether it serves."""
        return self.active == "active"

    @property
    def is_enabled(self) -> bool:
        """Whether it starts at boot, or is pulled in by what does."""
        return self.enabled in {"enabled", "static", "alias", "indirect", "generated"}


@dataclass(frozen=True, slots=True)
class Started:
    """With which files a unit was last started and last reloaded, or a handler last run."""

    restart_token: str
    reload_token: str


@dataclass(frozen=True, slots=True)
class Missing:
    """What the rendered files need and the host has not."""

    programs: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    pythons: tuple[tuple[str, str], ...] = ()  # path, and which version it is instead; "" where there is none


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What kind of host it is; `listening` and `connections` (by port, as of the reading) are None where the host
    does not tell."""

    uid: int = 0
    has_systemctl: bool = True
    listening: frozenset[int] | None = None
    connections: Mapping[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ObservedHost:
    """Everything that one round trip read. Paths that were not asked for are not in it.

    `folders` holds, for every folder that was asked for, what stands there; `manifest` is None when it could
    not be read, and `manifest_problem` says why; `leftover` when a run that was cut off left staged files;
    `undelivered` says for units of relays that are no longer wanted what their spools still hold.
    """

    host: str
    files: Mapping[str, ObservedFile] = field(default_factory=lambda: MappingProxyType({}))
    services: Mapping[str, ObservedService] = field(default_factory=lambda: MappingProxyType({}))
    folders: Mapping[str, FileKind] = field(default_factory=lambda: MappingProxyType({}))
    started: Mapping[str, Started] = field(default_factory=lambda: MappingProxyType({}))
    manifest: Manifest | None = field(default_factory=Manifest)
    manifest_problem: str = ""
    missing: Missing = field(default_factory=Missing)
    facts: HostFacts = field(default_factory=HostFacts)
    leftover: bool = False
    undelivered: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
