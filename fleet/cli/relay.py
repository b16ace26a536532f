"""`fleet relay`: the relay daemon and its queue; the words go on to the relay's own door as they are."""

import click


@click.command(
    "relay",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(words: tuple[str, ...]) -> int:
    """Run a relay from its rendered file, and look after its queue. `fleet relay -h` lists the verbs."""
    from fleet.relay.__main__ import main  # nobody else waits for it

    try:
        return main(words)
    except SystemExit as ending:  # how argparse ends after a help page or wrong usage
        return ending.code if isinstance(ending.code, int) else 1
