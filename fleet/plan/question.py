"""What a host has to be asked before its plan can be made: derived from what was rendered for it."""

from dataclasses import dataclass

from fleet.plan.grammar import list_ancestors
from fleet.render.artifacts import RenderedHost


@dataclass(frozen=True, slots=True)
class Question:
    """One round trip's worth: `files` are (path, wanted digest), everything sorted and without doubles."""

    files: tuple[tuple[str, str], ...] = ()
    folders: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    pythons: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()


def make_question(rendered: RenderedHost) -> Question:
    """Everything that `make_host_plan` will want to know about this host."""
    owners = [file.owner for file in rendered.files] + [folder.owner for folder in rendered.needs.folders]
    users = {owner.partition(":")[0] for owner in owners} | set(rendered.needs.users)
    return Question(
        files=tuple(sorted((file.path, file.digest) for file in rendered.files)),
        folders=list_folders(rendered),
        units=list_units(rendered),
        programs=tuple(sorted(set(rendered.needs.programs))),
        pythons=tuple(sorted(set(rendered.needs.pythons))),
        users=tuple(sorted(users)),
        groups=tuple(sorted({owner.partition(":")[2] for owner in owners})),
        ports=tuple(sorted({service.port for service in rendered.services if service.port is not None})),
    )


def list_folders(rendered: RenderedHost) -> tuple[str, ...]:
    """The folders that services need and those above everything, outermost first."""
    found = {folder.path for folder in rendered.needs.folders}
    for path in [*(file.path for file in rendered.files), *found]:
        found.update(list_ancestors(path))
    return tuple(sorted(found))


def list_units(rendered: RenderedHost) -> tuple[str, ...]:
    """Services that should run, and every unit that a file names."""
    found = {service.unit for service in rendered.services}
    for file in rendered.files:
        found.update(file.restarts, file.reloads)
    return tuple(sorted(found))
