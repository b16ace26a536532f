"""systemd of a demo host: unit files are those that fleet pushed, what they start lives in this process.

Only what fleet asks of systemctl(1) is answered. An enabled unit is a link in a `.wants` folder, as with
systemd itself, so that a hospital that is opened again starts what was enabled.
"""

import re
import shlex
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleet.errors import FleetError

_WANTS = "etc/systemd/system/multi-user.target.wants"
_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@-]{0,240}\.[a-z]+", re.ASCII)


class Server(Protocol):
    """Something that serves until it is closed; `associations_seen` counts who asked, admitted or not."""

    associations_seen: int

    @property
    def port(self) -> int:
        """Where it listens."""

    def close(self) -> None:
        """End it and everything it started; never raises."""


class CannotStartError(FleetError):
    """A server does not start; the message is what its product would say."""


@dataclass(frozen=True, slots=True)
class Command:
    """What a unit starts: the program's name, its words, and on which host (root folder and address)."""

    program: str
    words: tuple[str, ...]
    root: Path
    address: str

    def locate(self, path: str) -> Path:
        """A path of the host as a path of this machine."""
        return self.root / path.lstrip("/")


Engine = Callable[[Command], Server]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program says: its exit status (or `stay`), and its lines."""

    status: int | str = 0
    lines: tuple[str, ...] = ()


class Units:
    """The units of one host."""

    def __init__(self, root: Path, address: str, engines: Mapping[str, Engine]) -> None:
        self._root = root
        self._address = address
        self._engines = engines
        self._running: dict[str, Server] = {}
        self._failed: set[str] = set()
        self._read: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def running(self) -> Mapping[str, Server]:
        """What runs, by unit."""
        return dict(self._running)

    def start_enabled(self) -> None:
        """What a boot does."""
        wants = self._root / _WANTS
        for link in sorted(wants.iterdir()) if wants.is_dir() else ():
            self.answer(["start", link.name])

    def close(self) -> None:
        """End everything."""
        with self._lock:
            for unit in list(self._running):
                self._stop(unit)

    def answer(self, words: list[str]) -> Answer:
        """What `systemctl WORDS` says and does."""
        verb, *units = [word for word in words if not word.startswith("--")] or [""]
        if not all(_UNIT.fullmatch(unit) for unit in units):
            return Answer(1, ("Invalid unit name",))
        with self._lock:
            if verb == "daemon-reload":
                self._read.clear()
                return Answer()
            if verb == "show" and len(units) == 1:
                return Answer(0, self._show(units[0]))
            for unit in units:
                try:
                    self._act(verb, unit, now="--now" in words)
                except CannotStartError as error:
                    self._failed.add(unit)
                    return Answer(1, (f"Job for {unit} failed: {error}",))
        return Answer()

    def _path(self, unit: str) -> Path:
        return self._root / "etc/systemd/system" / unit

    def _link(self, unit: str) -> Path:
        return self._root / _WANTS / unit

    def _text(self, unit: str) -> str:
        """The unit's text as it was when it was first asked for: a newer one counts after daemon-reload."""
        if unit not in self._read:
            if not self._path(unit).is_file():
                raise CannotStartError(f"Unit {unit} not found.")
            self._read[unit] = self._path(unit).read_text("utf-8")
        return self._read[unit]

    def _show(self, unit: str) -> tuple[str, ...]:
        there = self._path(unit).is_file()
        stale = there and self._read.get(unit, self._path(unit).read_text("utf-8")) != self._path(unit).read_text(
            "utf-8"
        )
        idle = "failed" if unit in self._failed else "inactive"
        return (
            f"LoadState={'loaded' if there else 'not-found'}",
            f"ActiveState={'active' if unit in self._running else idle}",
            f"UnitFileState={'enabled' if self._link(unit).is_symlink() else 'disabled' if there else ''}",
            f"NeedDaemonReload={'yes' if stale else 'no'}",
            "NRestarts=0",
        )

    def _act(self, verb: str, unit: str, *, now: bool) -> None:
        if verb == "enable":
            self._text(unit)
            self._link(unit).parent.mkdir(parents=True, exist_ok=True)
            self._link(unit).unlink(missing_ok=True)
            self._link(unit).symlink_to(f"/etc/systemd/system/{unit}")
        elif verb == "disable":
            self._link(unit).unlink(missing_ok=True)
            if now:
                self._stop(unit)
        elif verb == "stop":
            self._stop(unit)
        elif verb in {"start", "restart", "reload"}:
            self._start(unit, again=verb != "start")
        elif verb == "reset-failed":
            self._failed.discard(unit)
        else:
            raise CannotStartError(f"Unknown command verb {verb}")

    def _start(self, unit: str, *, again: bool) -> None:
        if unit in self._running and not again:
            return
        command = self._parse(unit)
        engine = self._engines.get(command.program)
        if engine is None:
            raise CannotStartError(f"{command.program} is no program of this host")
        self._stop(unit)
        self._running[unit] = engine(command)
        self._failed.discard(unit)
        self._write_listening()

    def _stop(self, unit: str) -> None:
        server = self._running.pop(unit, None)
        if server is not None:
            server.close()
            self._write_listening()

    def _parse(self, unit: str) -> Command:
        """The first ExecStart of systemd.service(5), its continued lines joined."""
        text = re.sub(r"\\\n", " ", self._text(unit))
        found = re.search(r"(?m)^ExecStart=[-@:+!]*(\S.*)$", text)
        if found is None:
            raise CannotStartError(f"{unit} has no ExecStart")
        program, *words = shlex.split(found[1])
        return Command(program.rpartition("/")[2], tuple(words), self._root, self._address)

    def _write_listening(self) -> None:
        """/proc/net/tcp (proc(5)): state 0A is LISTEN; fleet looks there whether services really listen."""
        table = self._root / "proc/net/tcp"
        table.parent.mkdir(parents=True, exist_ok=True)
        address = bytes(map(int, reversed(self._address.split(".")))).hex().upper()
        rows = [
            f"   {number}: {address}:{server.port:04X} 00000000:0000 0A"
            for number, server in enumerate(self._running.values())
        ]
        table.write_text("\n".join(["  sl  local_address rem_address   st", *rows, ""]), "ascii")
