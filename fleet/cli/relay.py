"""`fleet relay`: the relay daemon and its queue; the words go on to the relay's own door as they are."""

from pathlib import Path

import click

from fleet.errors import UnreadableFile, UsageError


@click.command(
    "relay",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(words: tuple[str, ...]) -> int:
    """Run a relay from its rendered file, and look after its queue. `fleet relay -h` lists the verbs.

    `fleet relay bundle FILE` writes fleet-relay.pyz, which does all this on a host without fleet.
    """
    if words[:1] == ("bundle",):
        return _write_bundle(words[1:])
    from fleet.relay.__main__ import main  # nobody else waits for it

    try:
        return main(words)
    except SystemExit as ending:  # how argparse ends after a help page or wrong usage
        return ending.code if isinstance(ending.code, int) else 1


def _write_bundle(words: tuple[str, ...]) -> int:
    if words in {("-h",), ("--help",)}:
        click.echo("Usage: fleet relay bundle FILE\n\n  Write the relay as one program to FILE; docs/relay.md.")
        return 0
    if len(words) != 1 or words[0].startswith("-"):
        raise UsageError("fleet relay bundle FILE: name the one file to write (one that begins with - as ./-NAME)")
    from fleet.relay.archive.bundle import read_bundle  # it looks for pydicom, which nothing else here does

    path = Path(words[0])
    try:
        path.write_bytes(read_bundle())
        path.chmod(0o755)
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be written: {error.strerror}") from error
    return 0
