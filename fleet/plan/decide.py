"""The decision: what was rendered against what was observed gives the steps of one host. Pure.

Whether a unit owes a restart is never remembered here: the host keeps, for every unit, a token over the
files with which fleet last started it, and drops that record before it switches files. A run that is killed
in between therefore leaves a unit without a record, and the next plan contains its restart.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.plan import grammar
from fleet.plan.manifest import Manifest, ManifestFile
from fleet.plan.question import list_folders
from fleet.plan.state import FileKind, ObservedFile, ObservedHost, ObservedService, Started
from fleet.plan.steps import (
    CleanLeftover,
    DaemonReload,
    EnableUnit,
    FileState,
    HostPlan,
    MakeFolder,
    OpenAssociations,
    PlanProblem,
    RecordManifest,
    ReloadUnit,
    RemoveFile,
    RestartUnit,
    RunCheck,
    RunHandler,
    StartUnit,
    Step,
    StopUnit,
    UnitReason,
    WriteFile,
    WriteReason,
)
from fleet.render.artifacts import RenderedFile, RenderedHost, RenderedService

NO_FILES = "-"
HANDLER_PREFIX = "handler-"


def make_host_plan(rendered: RenderedHost, observed: ObservedHost, *, adopt: bool) -> HostPlan:
    """The plan of one host. Problems do not hide steps: both are shown, and problems refuse the host."""
    unfit = check_words(rendered)
    if unfit:
        return HostPlan(rendered.host, rendered, (), unfit)
    if observed.manifest is None:
        return HostPlan(rendered.host, rendered, (), (_broken_manifest(observed),))
    decision = _Decision(rendered, observed, observed.manifest)
    folders, folder_problems = decision.folders()
    writes, write_problems = decision.writes(adopt=adopt)
    removals, removal_problems = decision.removals()
    units, unit_problems = decision.units(writes)
    stops = decision.stops()
    reload_needed = decision.daemon_reload(writes, removals)
    handlers = decision.handlers(writes)
    steps: list[Step] = [CleanLeftover()] if observed.leftover else []
    steps += folders
    steps += _with_checks(writes, rendered.files)
    steps += [*stops, *removals, *reload_needed, *units, *handlers]
    steps += decision.record(writes, removals, [*stops, *units])
    problems = [
        *decision.missing(),
        *decision.undelivered(),
        *folder_problems,
        *write_problems,
        *removal_problems,
        *unit_problems,
    ]
    return HostPlan(
        rendered.host,
        rendered,
        tuple(steps),
        tuple(problems),
        before=observed.manifest,
        during=decision.manifest_during(),
        after=decision.manifest_after(),
        unseen=decision.unseen(),
        open=decision.open_associations([*stops, *units]),
    )


def make_token(files: Iterable[RenderedFile]) -> str:
    """One word for a set of files as they should be: changes with any path, content, mode or owner."""
    lines = sorted(f"{file.path} {file.digest} {file.mode:04o} {file.owner}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else NO_FILES


def make_handler_name(command: str) -> str:
    """Under which name the host remembers that a handler ran."""
    return HANDLER_PREFIX + hashlib.sha256(command.encode()).hexdigest()[:32]


def check_words(rendered: RenderedHost) -> tuple[PlanProblem, ...]:
    """Paths, units and owners that may not reach a script (T22); nothing is asked of such a host."""
    needs = rendered.needs
    found = [
        _unfit("path", path, "use an absolute path of letters, digits and ._@+:,=~- only")
        for path in [*(file.path for file in rendered.files), *(need.path for need in needs.folders)]
        if not grammar.is_path(path) or grammar.is_own_path(path)
    ]
    found += [
        _unfit("owner", owner, "write it as user:group")
        for owner in [*(file.owner for file in rendered.files), *(need.owner for need in needs.folders)]
        if not grammar.is_owner(owner)
    ]
    for file in rendered.files:
        found += [_bad_unit(unit) for unit in (*file.restarts, *file.reloads) if not grammar.is_unit(unit)]
    found += [_bad_unit(service.unit) for service in rendered.services if not grammar.is_unit(service.unit)]
    found += [
        _unfit("program", name, "use a plain name or an absolute path")
        for name in rendered.needs.programs
        if not grammar.is_program(name)
    ]
    found += [
        _unfit("python", path, "use an absolute path") for path in rendered.needs.pythons if not grammar.is_path(path)
    ]
    found += [_unfit("user", name, "use a user's name") for name in rendered.needs.users if not grammar.is_user(name)]
    return tuple(dict.fromkeys(found))


def _bad_unit(unit: str) -> PlanProblem:
    return _unfit("unit", unit, "use a systemd unit's name with its type, like keepalived.service")


def _unfit(what: str, value: str, remedy: str) -> PlanProblem:
    return PlanProblem(f"{what}-unfit", f"{value!r} cannot be a {what} on a host that fleet manages: {remedy}", value)


def _broken_manifest(observed: ObservedHost) -> PlanProblem:
    return PlanProblem(
        "manifest-broken",
        f"{grammar.STATE_FOLDER}/manifest {observed.manifest_problem}: without it fleet cannot tell which "
        "files are its own; move it away on the host and run again with --adopt",
        f"{grammar.STATE_FOLDER}/manifest",
    )


def _with_checks(writes: Sequence[WriteFile], files: Sequence[RenderedFile]) -> list[Step]:
    """Each write, followed by its product's check."""
    checks = {file.path: file.check for file in files}
    steps: list[Step] = []
    for write in writes:
        steps.append(write)
        check = checks[write.path]
        if check is not None:
            steps.append(RunCheck(write.path, check))
    return steps


@dataclass(frozen=True, slots=True)
class _Decision:
    """The three things that every part of the decision looks at."""

    rendered: RenderedHost
    observed: ObservedHost
    manifest: Manifest

    def folders(self) -> tuple[list[MakeFolder], list[PlanProblem]]:
        needs = {need.path: need for need in self.rendered.needs.folders}
        steps: list[MakeFolder] = []
        problems: list[PlanProblem] = []
        for path in list_folders(self.rendered):
            kind = self.observed.folders.get(path, FileKind.FOLDER)
            if kind is FileKind.ABSENT:
                need = needs.get(path)
                mode, owner = (need.mode, need.owner) if need else (0o755, "root:root")
                steps.append(MakeFolder(path, mode, owner))
            elif kind not in {FileKind.FOLDER, FileKind.UNREADABLE}:
                problems.append(_in_the_way(path, kind, "a folder"))
        return steps, problems

    def writes(self, *, adopt: bool) -> tuple[list[WriteFile], list[PlanProblem]]:
        steps: list[WriteFile] = []
        problems: list[PlanProblem] = []
        for file in sorted(self.rendered.files, key=lambda each: each.path):
            seen = self._file(file.path)
            if seen.kind not in {FileKind.FILE, FileKind.ABSENT}:
                problems.append(_in_the_way(file.path, seen.kind, "a file"))
                continue
            step = _decide_write(file, seen, managed=file.path in self.manifest.files)
            if step is None:
                continue
            steps.append(step)
            if step.reason is WriteReason.ADOPT and not adopt:
                problems.append(_adopt_needed(file.path))
        return steps, problems

    def _file(self, path: str) -> ObservedFile:
        """What was read; of a file of ours that this login may not read, what the manifest says (audit)."""
        seen = self.observed.files.get(path, ObservedFile(path))
        entry = self.manifest.files.get(path)
        if seen.kind is not FileKind.UNREADABLE or entry is None:
            return seen
        return ObservedFile(path, FileKind.FILE, entry.digest, entry.mode, entry.owner)

    def unseen(self) -> tuple[str, ...]:
        """Files of ours of which only the manifest could be compared, sorted."""
        hidden = (path for path, seen in self.observed.files.items() if seen.kind is FileKind.UNREADABLE)
        return tuple(sorted(path for path in hidden if path in self.manifest.files))

    def removals(self) -> tuple[list[RemoveFile], list[PlanProblem]]:
        steps: list[RemoveFile] = []
        problems: list[PlanProblem] = []
        for path in self._unwanted_paths():
            seen = self._file(path)
            if seen.kind is FileKind.FILE:
                steps.append(RemoveFile(path, _state(seen)))
            elif seen.kind is not FileKind.ABSENT:
                problems.append(_in_the_way(path, seen.kind, "the file that fleet wrote"))
        return steps, problems

    def _unwanted_paths(self) -> list[str]:
        return sorted(set(self.manifest.files) - {file.path for file in self.rendered.files})

    def _unwanted_units(self) -> list[str]:
        return sorted(set(self.manifest.units) - {service.unit for service in self.rendered.services})

    def undelivered(self) -> list[PlanProblem]:
        """Relays that would be removed while their spools still hold what was acknowledged to its senders."""
        return [
            _not_empty(unit, self.observed.undelivered[unit])
            for unit in self._unwanted_units()
            if unit in self.observed.undelivered
        ]

    def stops(self) -> list[StopUnit]:
        known = [self._service(unit) for unit in self._unwanted_units()]
        return [StopUnit(seen.unit) for seen in known if seen.exists and (seen.is_enabled or seen.active != "inactive")]

    def _service(self, unit: str) -> ObservedService:
        return self.observed.services.get(unit, ObservedService(unit))

    def daemon_reload(self, writes: Sequence[WriteFile], removals: Sequence[RemoveFile]) -> list[DaemonReload]:
        paths = [step.path for step in writes] + [step.path for step in removals]
        touched = any("/systemd/system/" in path for path in paths)
        owed = any(service.needs_daemon_reload for service in self.observed.services.values())
        return [DaemonReload()] if touched or owed else []

    def units(self, writes: Sequence[WriteFile]) -> tuple[list[Step], list[PlanProblem]]:
        services = {service.unit: service for service in self.rendered.services}
        named = {unit for file in self.rendered.files for unit in (*file.restarts, *file.reloads)}
        if (services or named) and not self.observed.facts.has_systemctl:
            return [], [_no_systemctl(sorted({*services, *named}))]
        changed = frozenset(write.path for write in writes)
        steps: list[Step] = []
        problems: list[PlanProblem] = []
        stopped = {stop.unit for stop in self.stops()}  # no longer wanted, though a file may still name it
        for unit in sorted({*services, *named} - stopped):
            problem = self._check_unit(unit, services.get(unit))
            if problem is not None:
                problems.append(problem)
            else:
                steps += self._decide_unit(unit, services.get(unit), changed)
        return steps, problems

    def _check_unit(self, unit: str, service: RenderedService | None) -> PlanProblem | None:
        seen = self._service(unit)
        brought = service is not None and service.ours
        brought = brought or any(file.path.endswith("/" + unit) for file in self.rendered.files)
        if not seen.exists and not brought:
            return PlanProblem("unit-missing", f"{unit} is not on the host: install what brings it", unit)
        if seen.load == "masked" or seen.enabled.startswith("masked"):
            return PlanProblem("unit-masked", f"{unit} is masked: `systemctl unmask {unit}` on the host", unit)
        return None

    def _decide_unit(self, unit: str, service: RenderedService | None, changed: frozenset[str]) -> list[Step]:
        seen = self._service(unit)
        restart_files = [file for file in self.rendered.files if unit in file.restarts]
        reload_files = [file for file in self.rendered.files if unit in file.reloads]
        wanted = Started(make_token(restart_files), make_token(reload_files))
        steps: list[Step] = []
        if service is not None and not seen.is_enabled:
            steps.append(EnableUnit(unit))
        if seen.active in {"inactive", "failed"}:
            if service is not None:
                steps.append(StartUnit(unit, wanted.restart_token, wanted.reload_token))
            return steps
        last = self.observed.started.get(unit)
        restart = _owes(restart_files, changed, wanted.restart_token, last.restart_token if last else "")
        again = _owes(reload_files, changed, wanted.reload_token, last.reload_token if last else "")
        if not seen.is_active and service is not None and restart is None:
            restart = UnitReason.STOPPED  # neither up nor down: it loops, or hangs on its way
        if restart is not None:
            drain_s = service.drain_s if service else 0.0
            steps.append(RestartUnit(unit, restart, wanted.restart_token, wanted.reload_token, drain_s))
        elif again is not None:
            steps.append(ReloadUnit(unit, again, wanted.restart_token, wanted.reload_token))
        return steps

    def open_associations(self, steps: Sequence[Step]) -> tuple[OpenAssociations, ...]:
        """What is open on the ports of the services that are restarted: each may be cut when its time is over."""
        restarted = {step.unit for step in steps if isinstance(step, RestartUnit)}
        open_now = self.observed.facts.connections
        return tuple(
            OpenAssociations(
                service.unit, service.port, None if open_now is None else open_now.get(service.port, 0), service.drain_s
            )
            for service in self.rendered.services
            if service.unit in restarted and service.port is not None
        )

    def handlers(self, writes: Sequence[WriteFile]) -> list[RunHandler]:
        changed = frozenset(write.path for write in writes)
        commands = sorted({file.handler for file in self.rendered.files if file.handler})
        steps: list[RunHandler] = []
        for command in commands:
            files = [file for file in self.rendered.files if file.handler == command]
            token = make_token(files)
            last = self.observed.started.get(make_handler_name(command))
            reason = _owes(files, changed, token, last.restart_token if last else "")
            if reason is not None:
                steps.append(RunHandler(command, reason, token))
        return steps

    def missing(self) -> list[PlanProblem]:
        missing = self.observed.missing
        found = [("program", name, "install what brings it") for name in missing.programs]
        found += [("user", name, "make it, or install what brings it") for name in missing.users]
        found += [("group", name, "make it, or install what brings it") for name in missing.groups]
        return [
            *(
                PlanProblem(f"{what}-missing", f"the {what} {name} is not on the host: {remedy}", name)
                for what, name, remedy in found
            ),
            *(_no_python(path, version) for path, version in missing.pythons),
        ]

    def record(
        self, writes: Sequence[WriteFile], removals: Sequence[RemoveFile], units: Sequence[Step]
    ) -> list[RecordManifest]:
        """Only what no other step tells: files and units that are as they should be, but not written down."""
        told = (
            {step.path for step in writes}
            | {step.path for step in removals}
            | {getattr(step, "unit", "") for step in units}
        )
        old = {*self.manifest.files, *self.manifest.units}
        after = self.manifest_after()
        new = {*after.files, *after.units}
        claimed, dropped = sorted(new - old - told), sorted(old - new - told)
        return [RecordManifest(tuple(claimed), tuple(dropped))] if claimed or dropped else []

    def manifest_after(self) -> Manifest:
        files = {file.path: ManifestFile(file.digest, file.mode, file.owner) for file in self.rendered.files}
        return Manifest(files, tuple(sorted({service.unit for service in self.rendered.services})))

    def manifest_during(self) -> Manifest:
        after = self.manifest_after()
        units = {*self.manifest.units, *after.units}
        return Manifest({**self.manifest.files, **after.files}, tuple(sorted(units)))


def _decide_write(file: RenderedFile, seen: ObservedFile, *, managed: bool) -> WriteFile | None:
    after = FileState(file.digest, file.mode, file.owner, file.data)
    if seen.kind is FileKind.ABSENT:
        return WriteFile(file.path, WriteReason.CREATE, None, after)
    before = _state(seen)
    owner_right = seen.owner is None or seen.owner == file.owner
    if seen.digest == file.digest:
        if seen.mode == file.mode and owner_right:
            return None
        return WriteFile(file.path, WriteReason.MODE, before, after)
    return WriteFile(file.path, WriteReason.CHANGE if managed else WriteReason.ADOPT, before, after)


def _state(seen: ObservedFile) -> FileState:
    return FileState(seen.digest or "", seen.mode or 0, seen.owner, seen.content)


def _owes(files: Sequence[RenderedFile], changed: frozenset[str], wanted: str, last: str) -> UnitReason | None:
    if any(file.path in changed for file in files):
        return UnitReason.CHANGED
    return UnitReason.OWED if files and wanted != last else None


def _adopt_needed(path: str) -> PlanProblem:
    return PlanProblem(
        "adopt-needed",
        f"{path} is there, differs, and no manifest knows it: --adopt takes it over (the original is kept "
        f"under {grammar.STATE_FOLDER}/originals on the host), or move it away",
        path,
    )


def _no_python(path: str, version: str) -> PlanProblem:
    found = f"is Python {version}" if version else "is not on the host, or is no Python"
    return PlanProblem(
        "python-unfit",
        f"{path} {found}, and fleet-relay.pyz needs 3.11 or newer: install one, and name it (run.python) where it "
        "is another program",
        path,
    )


def _not_empty(unit: str, said: str) -> PlanProblem:
    return PlanProblem(
        "spool-not-empty",
        f"{unit} is no longer wanted, and its spool may hold instances that nobody else has: {said}; let it run "
        "until they are delivered (`drain` takes no more and ends when all is sent), or release or drop what is in "
        "quarantine",
        unit,
    )


def _no_systemctl(units: Sequence[str]) -> PlanProblem:
    return PlanProblem("no-systemctl", f"the host has no systemctl to run {', '.join(units)} with", units[0])


_WAYS = {
    FileKind.SYMLINK: ("symlink-in-the-way", "is a symbolic link, and fleet writes through none"),
    FileKind.FOLDER: ("folder-in-the-way", "is a folder"),
    FileKind.FILE: ("file-in-the-way", "is a file"),
    FileKind.OTHER: ("special-in-the-way", "is a device, socket or pipe"),
    FileKind.UNREADABLE: ("unreadable", "cannot be read by the user that fleet logs in as"),
    FileKind.UNSAFE: ("unsafe-folder", "lies below a symbolic link that not only root could have made"),
}


def _in_the_way(path: str, kind: FileKind, wanted: str) -> PlanProblem:
    code, what = _WAYS.get(kind, ("special-in-the-way", f"is {kind}"))
    if kind is FileKind.UNREADABLE:
        text = f"{path} {what}, and no manifest tells what it holds: let fleet become root there (ssh.become: sudo)"
        return PlanProblem(code, text, path)
    return PlanProblem(code, f"{path} {what} where {wanted} should be: look at it on the host and move it away", path)
