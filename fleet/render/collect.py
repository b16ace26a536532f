"""One host's files, services and needs, collected from the parts that know them, sorted at the end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from fleet.errors import FleetError, Location, Problem, Severity, TemplateError, UnfitValue
from fleet.render.artifacts import (
    FileCheck,
    FolderNeed,
    Needs,
    Program,
    RenderedFile,
    RenderedHost,
    RenderedService,
)
from fleet.secrets.secret import SealedSecret
from fleet.targets.refusal import CODE

TEMPLATE_CODE = "template-failed"
SEALED_CODE = "secret-not-opened"
_NOT_RENDERED = "is not rendered: "
_MOST_NAMED = 5


def fold_failures(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """One mistake of a template, one closed secret once, with the hosts that it concerns, and not once a host."""
    same: dict[object, list[Problem]] = {}
    for problem in dict.fromkeys(problems):
        _, marked, reason = problem.message.partition(_NOT_RENDERED)
        key = (problem.code, problem.location, reason) if marked else problem
        same.setdefault(key, []).append(problem)
    return tuple(found[0] if len(found) == 1 else _fold(found) for found in same.values())


def _fold(found: Sequence[Problem]) -> Problem:
    hosts = tuple(dict.fromkeys(host for problem in found for host in problem.subjects))
    text = found[0].message
    if len(hosts) > 1:
        more = f" and {len(hosts) - _MOST_NAMED} more" if len(hosts) > _MOST_NAMED else ""
        reason = text.partition(_NOT_RENDERED)[2]
        text = f"hosts {', '.join(hosts[:_MOST_NAMED])}{more} are not rendered: {reason}"
    also = tuple(dict.fromkeys(place for problem in found for place in problem.also))
    return replace(found[0], message=text, also=also[:_MOST_NAMED], subjects=hosts)


@dataclass(slots=True)
class Collection:
    """What the parts have said of one host so far."""

    host: str
    files: dict[str, RenderedFile] = field(default_factory=dict)
    services: dict[str, RenderedService] = field(default_factory=dict)
    programs: set[str] = field(default_factory=set)
    pythons: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    folders: dict[str, FolderNeed] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add_file(self, file: RenderedFile) -> bool:
        """Take a file; False where its path is taken by another content."""
        known = self.files.get(file.path)
        if known is not None and known != file:
            return False
        self.files[file.path] = file
        return True

    def add_shared(self, file: RenderedFile) -> None:
        """Take a file that several units read: each of them reads it again when it changes. Raises `UnfitValue`."""
        known = self.files.get(file.path)
        if known is not None:
            file = replace(file, reloads=tuple(sorted({*known.reloads, *file.reloads})))
            if replace(known, reloads=file.reloads) != file:
                raise UnfitValue(f"{file.path} is wanted with two contents or two owners")
        self.files[file.path] = file

    def add_program(self, path: str, program: Program, unit: str, check: FileCheck) -> None:
        """A program of fleet's own, of which every unit that runs it is restarted with it."""
        known = self.files.get(path)
        units = tuple(sorted({unit, *(known.restarts if known else ())}))
        self.files[path] = RenderedFile(self.host, path, "", check=check, restarts=units, program=program)

    def add_service(self, service: RenderedService) -> None:
        """Take a unit that should be enabled and running."""
        self.services[service.unit] = service

    def add_folder(self, path: str, owner: str, mode: int = 0o750) -> None:
        """Need a folder; who says so first decides whose it is."""
        self.folders.setdefault(path, FolderNeed(path, owner, mode))

    def add_failure(self, error: FleetError, at: Location) -> None:
        """Why the host cannot be rendered whole, told where somebody can mend it."""
        code = TEMPLATE_CODE if isinstance(error, TemplateError) else CODE
        also: tuple[Location, ...] = ()
        if isinstance(error, SealedSecret):  # told where the value is typed, wherever that is needed
            code, at, also = SEALED_CODE, error.location, (at,)
        reason = str(error).removesuffix(f" (host {self.host})")
        message = f"host {self.host} {_NOT_RENDERED}{reason}"
        self.problems.append(Problem(code, Severity.ERROR, message, at, also, (self.host,)))

    def freeze(self) -> RenderedHost:
        """Everything, sorted."""
        return RenderedHost(
            self.host,
            tuple(self.files[path] for path in sorted(self.files)),
            tuple(self.services[unit] for unit in sorted(self.services)),
            Needs(
                tuple(sorted(self.programs)),
                tuple(sorted(self.users)),
                tuple(self.folders[path] for path in sorted(self.folders)),
                tuple(sorted(self.pythons)),
            ),
        )
