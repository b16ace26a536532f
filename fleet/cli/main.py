"""The door: which verbs there are, and what an error costs (contract: exit status).

Verbs load lazily, so that `fleet --help` imports neither paramiko nor pynetdicom nor jinja2.
"""

import difflib
import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click

from fleet.cli.status import FAILED, WRONG_USAGE, status_of

# verb → (module, what it does in a few words); the order is that of a working day.
VERBS = {
    "init": ("init", "A commented starter inventory and playbooks."),
    "validate": ("validate", "Schema, AE titles, cross-checks; no network."),
    "render": ("render", "Every file of every host, to a folder or stdout."),
    "plan": ("plan", "Read the hosts, show what would change; changes nothing."),
    "apply": ("apply", "Carry out a plan."),
    "verify": ("verify", "C-ECHO sweep; --drift also compares the hosts' files."),
    "echo": ("echo", "One association, by address or by the inventory's names."),
    "run": ("run", "Run a playbook."),
    "sheet": ("sheet", "What a person types into a box that we cannot push to."),
    "history": ("history", "Earlier runs."),
    "report": ("report", "A page for people."),
    "schema": ("schema", "JSON Schema of our files, for editors."),
    "inventory": ("inventory", "Ansible's dynamic-inventory JSON."),
    "explain-value": ("explain_value", "Where a value came from."),
    "title": ("title", "Propose free AE titles."),
    "unlock": ("unlock", "Break a lock that somebody left on a host; says whose."),
    "trust": ("trust", "Show a host's key fingerprints to pin."),
    "doctor": ("doctor", "What is installed, what wins, can we reach and log in."),
    "relay": ("relay", "The store-and-forward relay and its queue."),
    "demo": ("demo", "A whole small hospital on loopback, end to end."),
}


class LazyVerbs(click.Group):
    """A group whose verbs are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """The verbs in the order of a working day."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of a verb."""
        if cmd_name not in VERBS:
            close = difflib.get_close_matches(cmd_name, VERBS, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else "'fleet --help' lists the verbs."
            raise click.UsageError(f"No such verb '{cmd_name}'. {hint}")
        module = importlib.import_module(f"fleet.cli.{VERBS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The verbs with their words, without importing any of them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, words) for verb, (_, words) in VERBS.items()])


@click.group(cls=LazyVerbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="dicom-fleet", prog_name="fleet")
def fleet() -> None:
    """Declarative fleet manager for DICOM Application Entities.

    A YAML inventory is the one truth: it is validated, rendered, pushed over SSH, and verified by C-ECHO.

    Exit status: 0 as desired; 1 fleet could not do its work; 2 it did, and found something wrong;
    3 changes to hosts are pending; 64 wrong usage.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; never raises."""
    try:
        typed = sys.argv[1:] if arguments is None else list(arguments)
        status = fleet.main(args=list(typed), prog_name="fleet", standalone_mode=False, obj=typed)
        sys.stdout.flush()  # here, where a reader that has gone can still be told from a bug
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        error.show(sys.stderr)
        print(_hint(error), end="", file=sys.stderr)
        return WRONG_USAGE
    except click.ClickException as error:
        error.show(sys.stderr)
        return WRONG_USAGE
    except (click.Abort, KeyboardInterrupt):
        print("fleet: interrupted", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # Whoever read us has gone. Python flushes stdout once more at its end and would complain: give it a sink.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001  the last catch: a bug must end as status 1, not as a guess
        return status_of(error)
    return status if isinstance(status, int) else 0


def _hint(error: click.UsageError) -> str:
    """The slips behind a word too many (a selector without quotes or -l, an inventory without -i) or too early."""
    if isinstance(error, click.NoSuchOption) and error.ctx is not None and error.ctx.parent is None:
        return "" if error.possibilities else "Hint: options stand behind their verb, as in `fleet plan -i FOLDER`.\n"
    if error.ctx is None or not error.message.startswith("Got unexpected extra argument"):
        return ""
    known = {parameter.name for parameter in error.ctx.command.params}
    hints = ["quote a selector that has spaces: 'kind=modality site=north'"] if {"selector", "limit"} & known else []
    hints += ["narrow to hosts or titles with -l"] if "limit" in known else []
    hints += ["name the inventory with -i"] if "inventory" in known else []
    return f"Hint: {'; '.join(hints)}.\n" if hints else ""


def run() -> None:
    """The console script."""
    # An inventory is some hundred thousand objects that live until the end: looking through them for cycles
    # over and over costs a third of reading them.
    gc.set_threshold(200_000, 20, 100)
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup(1) stays nohup
        signal.signal(signal.SIGHUP, _interrupt)
    _open_what_was_closed()
    status = main()
    gc.freeze()  # everything is closed and told: Python's last two searches for cycles would find only memory
    _leave(status)


def _leave(status: int) -> NoReturn:
    """Python waits for threads at its end; after a second Ctrl-C nobody waits, and nothing more is done on a host."""
    if all(thread.daemon or thread is threading.main_thread() for thread in threading.enumerate()):
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _open_what_was_closed() -> None:
    """Python has None for a stream that the shell closed (`>&-`); print() would send what is for stderr to stdout.

    stdin first: what is opened next would take its number, and programs that we start would read from that.
    """
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  it lives as long as the process
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  it lives as long as the process
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _interrupt(_signal: int, _frame: object) -> None:
    """SIGTERM is what `timeout`, systemd and a shutdown say, SIGHUP a terminal that is gone: as at Ctrl-C.

    Of a terminal that is gone the shell and the kernel both tell: only the first says that somebody asks to stop.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise KeyboardInterrupt
