"""`fleet demo`: a whole small hospital on loopback, end to end."""

import threading
from pathlib import Path

import click

from fleet.errors import UsageError


@click.command("demo")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Leave the hospital in DIR.")
@click.option("--open", "kept", type=click.Path(path_type=Path), metavar="DIR", help="Switch on one that was kept.")
def command(keep: Path | None, kept: Path | None) -> int:
    """Build a small hospital on 127.0.0.0/8, apply its inventory, and show what one title twice would do.

    Needs neither root nor dcmtk; nothing outside one temporary folder is touched, and that is removed.
    Exit status: 0 everything went as the story says, 1 it did not.
    """
    from fleet.demo.play import open_kept, run_demo  # loads paramiko and pynetdicom: only this verb pays

    if keep is not None and kept is not None:
        raise UsageError("--keep makes a hospital, --open switches one on: give one of them")
    if kept is not None:
        return open_kept(_tell, kept, _wait_for_ctrl_c)
    return run_demo(_tell, keep)


def _tell(line: str) -> None:
    print(line, flush=True)


def _wait_for_ctrl_c() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
