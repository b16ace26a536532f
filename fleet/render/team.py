"""A team's own files: its templates, our variables, its command to check and its command afterwards."""

from fleet.errors import EmptySelection, TemplateError, UnfitValue
from fleet.inventory.model import Host, TeamFile
from fleet.render.artifacts import FileCheck, RenderedFile
from fleet.render.collect import Collection
from fleet.render.formats import format_of_path
from fleet.render.session import Session, check_content
from fleet.targets.refusal import cannot_carry


def render_team_files(session: Session, host: Host, collection: Collection) -> None:
    """Every file that the inventory wants on this host."""
    for file in session.inventory.files:
        try:
            wanted = host.name in session.hosts_of(file.where)
        except EmptySelection:
            continue  # a rule's business
        if wanted:
            try:
                _render(session, host, collection, file)
            except (UnfitValue, TemplateError) as error:
                collection.add_failure(error, file.at("template"))


def _render(session: Session, host: Host, collection: Collection, file: TeamFile) -> None:
    format_ = format_of_path(file.path)
    fleet = session.fleet_view
    view = session.view_of(host)
    context = {
        "host": view,
        "vars": view.vars,
        "path": file.path,
        "fleet_name": session.inventory.name,
        "entities": fleet.entities,
        "hosts": fleet.hosts,
        "virtual_services": fleet.virtual_services,
        "here": fleet.on_host(host.name),
        "callers": fleet.callers,
        "called": fleet.called,
    }
    made = session.templates.render_source(file.source, file.template, format_, context, host=host.name)
    content = check_content(made, format_, host.name, file.path)
    rendered = RenderedFile(
        host.name,
        file.path,
        content.text,
        mode=file.mode,
        owner=file.owner,
        check=_make_check(file.check),
        handler=file.handler,
        secrets=content.secrets,
    )
    if not collection.add_file(rendered):
        reason = f"fleet makes that file on {host.name} itself; one of them would be lost"
        collection.problems.append(
            cannot_carry("files", f"the path {file.path}", reason, file.at("path"), subjects=(file.path,))
        )


def _make_check(command: str | None) -> FileCheck | None:
    """The team's command, `{}` standing for the staged file."""
    return None if command is None else FileCheck("the team's own", command.replace("{}", '"$1"') + "\n")
