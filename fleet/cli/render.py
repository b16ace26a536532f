"""`fleet render`: every file of every host, to `DIR/HOST/path…` or stdout; no network."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import click

from fleet.cli.door import Door, door
from fleet.errors import UsageError
from fleet.render.artifacts import RenderedFile, RenderedHost
from fleet.report.text import count_of
from fleet.workflow.reading import read_valid
from fleet.workflow.rendering import render_hosts


@click.command("render")
@door()
@click.option("-d", "--directory", type=click.Path(path_type=Path), help="Write DIR/HOST/path… instead of stdout.")
@click.option(
    "--templates", type=click.Path(path_type=Path, exists=True, file_okay=False), help="A team's own templates."
)
def command(door: Door, directory: Path | None, templates: Path | None) -> int:
    """Show every file of every host as it should be. Same inventory, same bytes."""
    context = door.context(template_folder=templates)
    reading = read_valid(context)
    hosts = reading.hosts(door.selector(reading.inventory.name))
    rendered = render_hosts(reading, context, [host.name for host in hosts])
    if directory is not None:
        written = write_tree(rendered, directory)
        door.remark(f"wrote {count_of(written, 'file')} of {count_of(len(rendered), 'host')} to {directory}")
    elif door.output == "json":
        door.tell(json.dumps(_document(rendered), indent=1))
    else:
        door.tell("".join(_shown(file) for name in sorted(rendered) for file in rendered[name].files))
    return 0


def write_tree(rendered: Mapping[str, RenderedHost], directory: Path) -> int:
    """Every file below `directory`; what stands there already is written over, nothing else is touched."""
    count = 0
    for name, host in sorted(rendered.items()):
        for file in host.files:
            path = directory / name / file.path.lstrip("/")
            if not path.resolve().is_relative_to(directory.resolve()):
                raise UsageError(f"{path} leads out of {directory}; nothing further was written")
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, file)
            count += 1
    return count


def _write(path: Path, file: RenderedFile) -> None:
    """The mode stands before the content does: some of these files hold secrets (T39)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        os.fchmod(descriptor, 0o600 if file.holds_secrets else file.mode)
        opened.truncate()
        opened.write(file.data)


def _shown(file: RenderedFile) -> str:
    binary = f"(binary, {len(file.data)} bytes, sha256 {file.digest})\n"
    shown = binary if file.program else file.masked
    return f"==> {file.host}:{file.path} ({file.mode:04o} {file.owner}) <==\n{shown}\n"


def _document(rendered: Mapping[str, RenderedHost]) -> dict[str, object]:
    files = [
        {"host": file.host, "path": file.path, "mode": f"{file.mode:04o}", "owner": file.owner, **_content(file)}
        for name in sorted(rendered)
        for file in rendered[name].files
    ]
    return {"schema": "fleet.render/1", "files": files}


def _content(file: RenderedFile) -> dict[str, object]:
    """The text; of a binary file only what it is known by."""
    if file.program is None:
        return {"content": file.masked}
    return {"content": None, "sha256": file.digest, "size_bytes": len(file.data)}
