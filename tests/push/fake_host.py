"""A host as a dictionary: does what the scripts would do, from the request that each was made from."""

import base64
import hashlib
from copy import deepcopy
from dataclasses import dataclass, field

from fleet.errors import FleetError, HostError, NetworkError
from fleet.inventory.model import Host
from fleet.plan.decide import make_handler_name
from fleet.plan.manifest import Manifest, format_manifest
from fleet.plan.question import Question
from fleet.plan.steps import (
    EnableUnit,
    HostPlan,
    MakeFolder,
    ReloadUnit,
    RemoveFile,
    RestartUnit,
    RunHandler,
    StartUnit,
    Step,
    StopUnit,
    WriteFile,
)
from fleet.push.script import Script
from fleet.push.transport import REPLY_LIMIT_BYTES, ByteStream, CommandResult, Transport


@dataclass
class FakeFile:
    """A regular file, or with `kind` whatever stands at a path."""

    content: bytes
    mode: int = 0o644
    owner: str = "root:root"
    kind: str = "file"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class FakeUnit:
    """A unit file that systemd knows."""

    active: str = "inactive"
    enabled: str = "disabled"
    restarts: int = 0  # by systemd itself


@dataclass
class FakeHost:
    """A host without a network; `log` is what was done to it, `failures` what a verb raises instead."""

    files: dict[str, FakeFile] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {"/etc", "/var", "/srv", "/etc/systemd", "/etc/systemd/system"})
    units: dict[str, FakeUnit] = field(default_factory=dict)
    started: dict[str, tuple[str, str]] = field(default_factory=dict)
    manifest: str | None = None
    missing_programs: set[str] = field(default_factory=set)
    missing_users: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    failures: dict[str, FleetError] = field(default_factory=dict)
    failing_units: set[str] = field(default_factory=set)
    is_open: bool = True
    leftover: bool = False
    has_timers: bool = True
    lease: tuple[str, ...] = ()  # token, age, heard, left, owner and what it does, in words of lock.sh
    before: "FakeHost | None" = None  # what the way back leads to, until it is confirmed

    def run_script(
        self,
        script: Script,
        *,
        deadline_s: float,
        limit_bytes: int = REPLY_LIMIT_BYTES,
        become: bool | None = None,
    ) -> CommandResult:
        self.log.append(script.verb)
        if script.verb in self.failures:
            raise self.failures[script.verb]
        if script.verb == "stage" and not self.has_timers and " way-back" in script.text:
            return CommandResult(0, b"fleet-host 1\nno-way-back\nfailed\nend\n", b"")
        lines = {
            "observe": self._observe,
            "stage": self._stage,
            "switch": self._switch,
            "confirm": self._confirm,
            "revert": self._revert,
            "ping": self._ping,
            "lock": self._report_lock,
            "unlock": self._break_lock,
            "settle": self._settle,
        }[script.verb](script.request)
        return CommandResult(0, "\n".join(["fleet-host 1", *lines, "end", ""]).encode(), b"")

    def open_channel(self, address: str, port: int, *, deadline_s: float) -> ByteStream:
        raise NetworkError("a dictionary opens no channels", phase="tunnel")

    def close(self) -> None:
        self.is_open = False

    def _ping(self, _request: object) -> list[str]:
        return ["uid 0"]

    def _report_lock(self, _request: object) -> list[str]:
        return [" ".join(["lease", *(self.lease or ("free",))])]

    def _break_lock(self, token: object) -> list[str]:
        lines = self._report_lock(token)
        if self.lease[:1] != (token,):
            return lines
        self.lease = ()
        return [*lines, "broken", *(["armed"] if self.before else [])]

    def _settle(self, run_id: object) -> list[str]:
        if self.lease and (self.lease[0].rpartition(".")[0] != run_id or self.lease[-1] == "working"):
            return [" ".join(["locked", *self.lease])]
        self.lease = ()
        if self.before is not None:
            self._revert(None)
            return [f"settled undone {_blob(b'x reverted -')}"]
        found, self.leftover = "cleaned" if self.leftover else "nothing", False
        return [f"settled {found} -"]

    def _observe(self, question: object) -> list[str]:
        assert isinstance(question, Question)
        lines = ["uid 0", "systemctl yes"]
        for index, (path, wanted) in enumerate(question.files):
            lines += self._describe(index, path, wanted)
        lines += self._describe_manifest(question)
        lines += [f"started {name} {one} {two}" for name, (one, two) in self.started.items()]
        lines += [f"folder {index} {self._kind(path)}" for index, path in enumerate(question.folders)]
        ours = [line[5:] for line in (self.manifest or "").split("\n") if line.startswith("unit ")]
        lines += [f"unit {unit} {self._show(unit)}" for unit in dict.fromkeys([*question.units, *ours])]
        missing = enumerate(question.programs)
        lines += [f"no-program {index}" for index, name in missing if name in self.missing_programs]
        lines += ["leftover"] if self.leftover else []
        lines += [f"no-user {index}" for index, name in enumerate(question.users) if name in self.missing_users]
        return lines

    def _describe(self, index: int, path: str, wanted: str) -> list[str]:
        seen = self.files.get(path)
        if seen is None:
            return [f"file {index} {'directory' if path in self.folders else 'absent'}"]
        if seen.kind != "file":
            return [f"file {index} {seen.kind}"]
        lines = [f"file {index} file {seen.mode:o} {seen.owner} 1 {len(seen.content)} {seen.digest}"]
        if seen.digest != wanted:
            lines.append(f"content {index} {_blob(seen.content)}")
        return lines

    def _describe_manifest(self, question: Question) -> list[str]:
        if self.manifest is None:
            return ["manifest absent"]
        lines = [f"manifest text {_blob(self.manifest.encode())}"]
        asked = {path for path, _ in question.files}
        paths = [line.split(" ")[4] for line in self.manifest.split("\n") if line.startswith("file ")]
        for index, path in enumerate((path for path in paths if path not in asked), start=len(asked)):
            lines.append(f"path {index} {path}")
            lines += self._describe(index, path, "none")
        return lines

    def _kind(self, path: str) -> str:
        return "directory" if path in self.folders else "file" if path in self.files else "absent"

    def _show(self, unit: str) -> str:
        known = self.units.get(unit) or self._unit_of_file(unit)
        if known is None:
            return _blob(b"LoadState=not-found\nActiveState=inactive\nUnitFileState=\n")
        text = f"LoadState=loaded\nActiveState={known.active}\nUnitFileState={known.enabled}\nNeedDaemonReload=no\n"
        text += f"NRestarts={known.restarts}\n"
        return _blob(text.encode())

    def _unit_of_file(self, unit: str) -> FakeUnit | None:
        return FakeUnit() if f"/etc/systemd/system/{unit}" in self.files else None

    def _stage(self, plan: object) -> list[str]:
        assert isinstance(plan, HostPlan)
        if self.lease:
            return [" ".join(["locked", *self.lease]), "failed"]
        self.leftover = False
        self.folders |= {step.path for step in plan.steps if isinstance(step, MakeFolder)}
        return ["staged"]

    def _switch(self, plan: object) -> list[str]:
        assert isinstance(plan, HostPlan)
        self.before = None
        self.before = deepcopy(self)
        lines: list[str] = []
        for index, step in enumerate(plan.steps):
            lines += self._do(index, step)
        self.manifest = format_manifest(plan.after)
        return [*lines, "switched", "switched-all", "armed"]

    def _confirm(self, _token: object) -> list[str]:
        self.before = None
        return ["window confirmed -"]

    def _revert(self, _token: object) -> list[str]:
        if self.before is None:
            return ["window none -"]
        for name in ("files", "units", "started", "manifest"):
            setattr(self, name, getattr(self.before, name))
        self.before = None
        return ["window reverted -"]

    def _do(self, index: int, step: Step) -> list[str]:
        match step:
            case WriteFile():
                after = step.after
                self.files[step.path] = FakeFile(after.content or b"", after.mode, after.owner or "root:root")
                return [f"renamed {index}"]
            case RemoveFile():
                del self.files[step.path]
                return [f"removed {index}"]
            case StopUnit():
                self.units[step.unit] = FakeUnit()
                self.started.pop(step.unit, None)
            case EnableUnit():
                self.units.setdefault(step.unit, FakeUnit()).enabled = "enabled"
            case StartUnit() | RestartUnit() | ReloadUnit():
                if step.unit in self.failing_units:
                    return [f"ran {index} 1 {_blob(b'Job failed.')}"]
                self.units.setdefault(step.unit, FakeUnit()).active = "active"
                self.started[step.unit] = (step.restart_token, step.reload_token)
            case RunHandler():
                self.started[make_handler_name(step.command)] = (step.token, step.token)
            case _:
                return []
        self.log.append(f"{type(step).__name__} {getattr(step, 'unit', '') or getattr(step, 'command', '')}")
        return [f"ran {index} 0 -"]

    def own(self, manifest: Manifest) -> None:
        """Let the host know what is ours."""
        self.manifest = format_manifest(manifest)


@dataclass
class FakeConnector:
    """Fake hosts by name; one that is not there is unreachable."""

    hosts: dict[str, FakeHost]

    def open_(self, host: Host, *, deadline_s: float) -> Transport:
        if host.name not in self.hosts:
            raise NetworkError(f"{host.name}: no answer within {deadline_s:g} s", phase="connect")
        if "open" in self.hosts[host.name].failures:
            raise self.hosts[host.name].failures["open"]
        self.hosts[host.name].is_open = True
        return self.hosts[host.name]


def _blob(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii") or "-"


def make_flood() -> HostError:
    """What a transport raises for a host that talks too much."""
    return HostError("sent more than 1000000 bytes where a short answer was due", phase="observe")
