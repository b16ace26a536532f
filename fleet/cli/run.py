"""`fleet run PLAYBOOK`: a playbook."""

from pathlib import Path

import click

from fleet.cli.door import Door, door
from fleet.cli.running import OUTPUTS, tell_run
from fleet.documents import package_folder
from fleet.playbook import perform, read_playbook


@click.command("run")
@door(outputs=OUTPUTS)
@click.argument("playbook", type=click.Path(path_type=Path))
def command(door: Door, playbook: Path) -> int:
    """Run PLAYBOOK: a path, or the name of one that ships with fleet (apply, nightly-verify, audit)."""
    path = playbook
    shipped = package_folder("playbooks") / f"{playbook.name}.yml"
    if not path.exists() and playbook.suffix == "" and playbook.parent == Path() and shipped.is_file():
        path = shipped
    plays = read_playbook(path)
    return tell_run(door, f"run {path.name}", lambda story: perform(plays, story), playbook=path.name)
