"""`fleet run PLAYBOOK`: a playbook."""

from pathlib import Path

import click

from fleet.cli.door import Door, door
from fleet.cli.running import OUTPUTS, tell_run
from fleet.documents import package_folder
from fleet.playbook import perform, read_playbook
from fleet.workflow.story import Permissions


@click.command("run")
@door(outputs=OUTPUTS)
@click.argument("playbook", type=click.Path(path_type=Path))
@click.option("--adopt", is_flag=True, help="Take over files that no manifest knows; the originals are kept.")
@click.option("--allow-removal", type=click.IntRange(0), default=0, metavar="N", help="So many may vanish.")
@click.option("--forget-host", multiple=True, metavar="HOST", help="This host is gone for good; again for more.")
def command(door: Door, playbook: Path, adopt: bool, allow_removal: int, forget_host: tuple[str, ...]) -> int:
    """Run PLAYBOOK: a path, or the name of one that ships with fleet (apply, nightly-verify, audit)."""
    path = playbook
    shipped = package_folder("playbooks") / f"{playbook.name}.yml"
    if not path.exists() and playbook.suffix == "" and playbook.parent == Path() and shipped.is_file():
        path = shipped
    plays = read_playbook(path)
    permissions = Permissions(adopt, allow_removal, forget_host)
    return tell_run(door, f"run {path.name}", lambda story: perform(plays, story, permissions), playbook=path.name)
