"""What each host should hold: the one door of this room. Pure: nothing is asked, nothing is written.

A host that cannot be rendered whole is left out and its reasons are returned as problems: half of its files
would be worse than none.
"""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Collection as Some
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fleet.errors import Problem, TemplateError, UnfitValue
from fleet.inventory.model import Host, Inventory
from fleet.inventory.peers import Peers
from fleet.render.artifacts import Program, RenderedFile, RenderedHost
from fleet.render.balance import render_balance
from fleet.render.collect import Collection, fold_failures
from fleet.render.engine import Templates
from fleet.render.engines import render_engines
from fleet.render.session import PLAIN_TYPES, Session
from fleet.render.team import render_team_files

HostResult = tuple[RenderedHost | None, tuple[Problem, ...]]
NO_PROGRAMS: Final[Mapping[str, Program]] = MappingProxyType({})
Rendered = tuple[dict[str, RenderedHost], tuple[Problem, ...]]


def render_fleet(
    inventory: Inventory,
    peers: Peers,
    *,
    template_folder: Path | None = None,
    only: Some[str] | None = None,
    programs: Mapping[str, Program] = NO_PROGRAMS,
) -> Rendered:
    """Every host (or those named in `only`) by name, and why some are not among them.

    `programs` are the files that hosts get as they are, by name: this room reads no file of fleet's own (W2).
    """
    rendered: dict[str, RenderedHost] = {}
    problems: list[Problem] = []
    for name, result, found in iterate_hosts(
        inventory, peers, template_folder=template_folder, only=only, programs=programs
    ):
        problems += found
        if result is not None:
            rendered[name] = result
    return rendered, fold_failures(problems)


def iterate_hosts(
    inventory: Inventory,
    peers: Peers,
    *,
    template_folder: Path | None = None,
    only: Some[str] | None = None,
    programs: Mapping[str, Program] = NO_PROGRAMS,
) -> Iterator[tuple[str, RenderedHost | None, tuple[Problem, ...]]]:
    """One host after the other, in the order of the files; each one's problems beside it."""
    session, render = begin_hosts(inventory, peers, template_folder, programs)
    for host in inventory.hosts.values():
        if only is None or host.name in only:
            yield host.name, *render(session, host)


def begin_hosts(
    inventory: Inventory, peers: Peers, template_folder: Path | None, programs: Mapping[str, Program] = NO_PROGRAMS
) -> tuple[Session, Callable[[Session, Host], HostResult]]:
    """What all hosts share, and the function that renders one."""
    return Session(inventory, peers, Templates(template_folder, PLAIN_TYPES), programs), render_host


def render_host(session: Session, host: Host) -> HostResult:
    """One host; None where it could not be rendered whole. A retired one holds nothing."""
    if host.retired:
        return RenderedHost(host.name), ()
    collection = Collection(host.name)
    for part in (render_engines, render_balance, render_team_files):
        try:
            part(session, host, collection)
        except (UnfitValue, TemplateError) as error:
            collection.add_failure(error, host.location)
    for file in collection.files.values():
        if file.holds_secrets and file.mode & 0o007:
            collection.add_failure(_too_open(file), host.location)
    if collection.problems:
        return None, tuple(collection.problems)
    return collection.freeze(), ()


def _too_open(file: RenderedFile) -> UnfitValue:
    return UnfitValue(
        f"{file.path} would hold a secret, and its mode {file.mode:04o} lets everybody on the host read it; give it"
        " `mode: 0600` (or 0640 and an owner whose group reads it)"
    )
