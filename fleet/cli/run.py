"""`fleet run PLAYBOOK`: a playbook."""

from pathlib import Path
from typing import Any

import click

from fleet.cli.door import Door, door
from fleet.cli.limit import tell_limit
from fleet.cli.running import OUTPUTS, Telling, tell_run
from fleet.documents.packaged import package_folder
from fleet.errors import UnreadableFile, did_you_mean
from fleet.playbook import perform, read_playbook
from fleet.workflow.story import Permissions, Story


@click.command("run")
@door(outputs=OUTPUTS, contacts=True)
@click.argument("playbook", type=click.Path(path_type=Path))
@click.option("--adopt", is_flag=True, help="Take over files that no manifest knows; the originals are kept.")
@click.option("--allow-removal", type=click.IntRange(0), default=0, metavar="N", help="So many may vanish.")
@click.option("--forget-host", multiple=True, metavar="HOST", help="This host is gone for good; again for more.")
@click.option(
    "--reason", default="", metavar="TEXT", help="Why, or for which ticket; recorded, and no place for secrets."
)
def command(door: Door, playbook: Path, reason: str, **options: Any) -> int:
    """Run PLAYBOOK: a path, or the name of one that ships with fleet (apply, nightly-verify, audit).

    Nothing is asked before a step writes: what is in a playbook was decided when it was written. `fleet plan`
    shows first what `fleet run apply` would do, and `fleet apply` asks.
    """
    path = _find(playbook)
    plays = read_playbook(path)
    permissions = Permissions(options["adopt"], options["allow_removal"], options["forget_host"])
    changes = any(step.verb in {"plan", "apply"} for play in plays for step in play.steps)

    def act(story: Story) -> None:
        if changes:
            tell_limit(door, story)
        perform(plays, story, permissions)

    return tell_run(door, f"run {path.name}", act, Telling(playbook=path.name, reason=reason))


def _find(playbook: Path) -> Path:
    """The file itself, or the playbook of that name that ships with fleet. Raises `UnreadableFile`."""
    if playbook.exists():
        return playbook
    shipped = {path.stem: path for path in sorted(package_folder("playbooks").glob("*.yml"))}
    if str(playbook) in shipped:
        return shipped[str(playbook)]
    hint = did_you_mean(playbook.stem, shipped)
    raise UnreadableFile(
        f"{playbook}: no such playbook{hint}; those that ship with fleet are {', '.join(shipped)}; nothing was done"
    )
