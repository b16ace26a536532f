"""What every verb shares: the options that stand everywhere, and what they become.

The one place that reads the environment, knows who is logged in, and whether stderr is a terminal.
"""

import difflib
import functools
import getpass
import os
import pwd
import socket
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from fleet.cli.net import make_bug, mask_error, mask_observer
from fleet.errors import FleetError, InvalidInventory, UsageError
from fleet.events import Observer, ignore
from fleet.secrets.vault import Vault
from fleet.workflow.context import Context, Origin, utc_now

_NOBODY_LOGGED_IN = "4294967295"  # a service, cron: nobody logged in for it (proc_pid_loginuid(5))


@dataclass(frozen=True, slots=True)
class Door:
    """How this run was asked for, and how it wants its answer."""

    inventory: Path
    limit: str | None
    forks: int
    output: str
    verbose: int
    quiet: bool
    color: bool
    history: Path
    vault: Vault
    ssh_config: str | None = None

    def context(self, **more: Any) -> Context:
        """The run's parameters; a run gets its id here."""
        return Context(
            inventory_root=self.inventory,
            history_file=self.history,
            limit=self.limit,
            forks=self.forks,
            who=_who(),
            where=socket.gethostname(),
            run_id=_run_id(),
            origin=_origin(),
            observer=mask_observer(self.observer(), self.vault.mask),
            vault=self.vault,
            **more,
        )

    def observer(self) -> Observer:
        """Progress on a terminal, silence everywhere else (cron mail has no use for bars)."""
        if self.quiet or not sys.stderr.isatty():
            return ignore
        from fleet.cli.progress import TerminalProgress  # rich, on terminals only

        return TerminalProgress(color=self.color, verbose=self.verbose)

    def selector(self, fleet: str) -> str | None:
        """The limit, with `@failed` looked up in history among the runs of this fleet."""
        if self.limit != "@failed":
            return self.limit
        from fleet.report.history.opening import open_history  # only who asks for the last failures opens a history
        from fleet.workflow.reading import require_failed

        with open_history(self.history, create=False) as history:
            history.concern(fleet)
            self.remark(history.describe_cut_off() or "")
            return require_failed(history.failed_names())

    def tell(self, text: str) -> None:
        """Print an answer on stdout."""
        if text:
            print(text, end="" if text.endswith("\n") else "\n")

    def remark(self, text: str) -> None:
        """Print a remark on stderr, unless nothing should be said."""
        if text and not self.quiet:
            print(text, file=sys.stderr)


def _who() -> str:
    user = os.environ.get("SUDO_USER")
    try:
        me = getpass.getuser()
    except (KeyError, OSError):
        me = str(os.getuid())
    return f"{user} as {me}" if user and user != me else me


def _origin() -> Origin:
    """For the journal: what the kernel says of us, and what sudo and sshd say beside it."""
    try:
        login = Path("/proc/self/loginuid").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        login = _NOBODY_LOGGED_IN
    return Origin(
        user=_account(os.getuid()),
        sudo_user=os.environ.get("SUDO_USER", ""),
        login_user=_account(int(login)) if login.isdigit() and login != _NOBODY_LOGGED_IN else "",
        host=socket.gethostname(),
        ssh_client=os.environ.get("SSH_CONNECTION", "").partition(" ")[0],
    )


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _run_id() -> str:
    """A run's name: the time it began and a random end; sorts by time."""
    return f"{utc_now():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def default_history() -> Path:
    """Under the XDG state folder (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "fleet" / "history.sqlite"


def door(
    *, outputs: tuple[str, ...] = ("text", "json"), limited: bool = True, contacts: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb the options that stand everywhere; it gets a `Door` as its first argument.

    A verb that is not `limited` takes no --limit, and one that contacts no hosts no --ssh-config: one that is
    ignored would be taken for one that holds.
    """

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(verb)
        def call(**options: Any) -> Any:
            made = Door(
                inventory=options.pop("inventory"),
                limit=_limit(options.pop("limit", None)),
                forks=options.pop("forks"),
                output=options.pop("output"),
                verbose=options.pop("verbose"),
                quiet=options.pop("quiet"),
                color=_color(options.pop("no_color")),
                history=options.pop("history") or default_history(),
                vault=open_vault(options.pop("vault_password_file"), options.pop("vault_password_command")),
                ssh_config=options.pop("ssh_config", None),
            )
            try:
                return verb(made, **options)
            except FleetError as error:
                mask_error(error, made.vault.mask)
                if made.output == "json" and not isinstance(error, UsageError):
                    made.tell(_failure(error))
                raise
            except (click.ClickException, click.Abort, click.exceptions.Exit, OSError):
                raise
            except Exception as error:  # noqa: BLE001  whatever it is, it may hold what it worked on
                raise make_bug(error, made.vault.mask) from None

        for option in reversed(_options(outputs, limited=limited, contacts=contacts)):
            call = option(call)
        return call

    return decorate


VAULT_OPTIONS = (
    click.option(
        "--vault-password-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Opens !vault values; an executable one is run. [FLEET_VAULT_PASSWORD_FILE]",
    ),
    click.option("--vault-password-command", metavar="CMD", help="Prints the vault password; no shell is used."),
)


def open_vault(file: Path | None, command: str | None) -> Vault:
    """What opens the inventory's secrets; the password is read when the first of them is met."""
    if file is not None and command is not None:
        raise UsageError("--vault-password-file and --vault-password-command: give one of them; nothing was done")
    from fleet.secrets import password  # starts processes: the rooms below never see it

    if command is not None:
        return Vault(lambda: password.run_password_command(command))
    named = file or (Path(from_env) if (from_env := os.environ.get("FLEET_VAULT_PASSWORD_FILE")) else None)
    return Vault(None if named is None else lambda: password.read_password_file(named.expanduser()))


def _limit(text: str | None) -> str | None:
    """The selector; an empty one is a slip of a script's variable, and must not mean everything."""
    if text is not None and not text.strip():
        raise UsageError("--limit is empty; leave it out for everything, or name something; nothing was done")
    if text and text != "@failed" and text.startswith("@") and difflib.get_close_matches(text, ["@failed"]):
        raise UsageError(f"--limit {text!r}: did you mean '@failed'? nothing was done")
    return text


def _failure(error: FleetError) -> str:
    """One JSON document also where an error ends the verb before it has an answer."""
    from fleet.report.machine import format_run_json  # only where JSON is asked for
    from fleet.report.summary import FindingLine, RunReport

    now = f"{utc_now():%Y-%m-%dT%H:%M:%SZ}"
    problems = error.problems if isinstance(error, InvalidInventory) else ()
    verb = click.get_current_context().info_name or "fleet"
    report = RunReport(verb, _run_id(), now, now, problems=problems)
    if not problems:
        is_wrong = error.found_wrong
        finding = (FindingLine("", verb, "refused", str(error)),) if is_wrong else ()
        report = replace(report, findings=finding, failure="" if is_wrong else str(error))
    return format_run_json(report)


def _color(refused: bool) -> bool:
    """Whether stdout gets colours (no-color.org)."""
    return not refused and "NO_COLOR" not in os.environ and sys.stdout.isatty()


def _options(outputs: tuple[str, ...], *, limited: bool, contacts: bool) -> list[Callable[[Any], Any]]:
    path = click.Path(path_type=Path)
    limit = click.option(
        "-l", "--limit", metavar="SEL", help="Only what this selector means; @failed: the last failures."
    )
    config = click.option(
        "--ssh-config", metavar="FILE", help="Instead of ~/.ssh/config and the machine's own; `none` reads neither."
    )
    return [
        click.option(
            "-i", "--inventory", type=path, default=Path("inventory"), show_default=True, help="The inventory."
        ),
        *([limit] if limited else []),
        *([config] if contacts else []),
        click.option(
            "-f", "--forks", type=click.IntRange(1, 500), default=20, show_default=True, help="Hosts at once."
        ),
        click.option("-o", "--output", type=click.Choice(outputs), default=outputs[0], show_default=True, help="Form."),
        click.option("-v", "--verbose", count=True, help="Say more; again: still more."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing when all is well."),
        click.option("--no-color", is_flag=True, help="No colours (or set NO_COLOR)."),
        click.option("--history", type=path, help="The history file; default under the XDG state folder."),
        *VAULT_OPTIONS,
    ]
