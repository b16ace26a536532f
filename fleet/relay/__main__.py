"""The relay's own door: `fleet relay …`, and `fleet-relay.pyz …` on a host that has nothing of fleet.

Exit status: 0 as asked; 1 it could not; 2 the configuration or what was asked is wrong; 64 wrong usage.
"""

import argparse
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fleet.errors import FleetError, UsageError, did_you_mean
from fleet.relay.config import read_config
from fleet.relay.operate.control import STATES, ask
from fleet.relay.operate.notify import Notifier
from fleet.relay.telling import Teller

if TYPE_CHECKING:
    from fleet.relay.spool.queue import Spool

WRONG_USAGE = 64


_WHERE = """Every verb runs where the spool is: on the relay's host, as its user or as root. There, fleet apply has put
this program as /usr/local/lib/dicom-fleet/fleet-relay.pyz and CONFIG as /etc/fleet/relay-TITLE.json. For another host
`fleet relay bundle FILE` writes it."""


class _Parser(argparse.ArgumentParser):
    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(each) for each in action.choices]
            hint = did_you_mean(str(value), known) or f"; there are {', '.join(known)}"
            raise argparse.ArgumentError(action, f"no {value!r}{hint}")

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(WRONG_USAGE, f"{self.prog}: {message}\n")


def make_parser(program: str = "fleet relay") -> argparse.ArgumentParser:
    """The verbs; every one takes the same CONFIG."""
    parser = _Parser(prog=program, description="A DICOM store-and-forward relay.", epilog=_WHERE)
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=_Parser)

    def add(name: str, words: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=words, description=words)
        verb.add_argument("config", type=Path, metavar="CONFIG", help="the relay's rendered JSON file")
        return verb

    add("run", "Receive, keep and forward until SIGTERM; SIGHUP reads CONFIG again.")
    add("check", "Say whether this relay can carry out CONFIG; nothing is opened.")
    add("status", "Queues, destinations, callers, disk.").add_argument(
        "--json", action="store_true", help="everything, for programs"
    )
    add("metrics", "The same for Prometheus.")
    listing = add("list", "What is queued, waits, or is in quarantine.")
    listing.add_argument(
        "--state", action="append", default=[], choices=STATES, metavar="STATE",
        help=f"only this one of {', '.join(STATES)}; may be given again",
    )  # fmt: skip
    add("retry", "Try again now what pauses after failures.").add_argument(
        "destination", metavar="DEST", nargs="?", help="its title; without it: every one"
    )
    quarantine = add("quarantine", "Look at the quarantine; release or drop one task of it.")
    quarantine.add_argument("what", choices=("show", "release", "drop"))
    quarantine.add_argument("task", metavar="TASK", nargs="?", type=int, help="its number, as `show` lists it")
    for name, words in (("pause", "Send nothing there until resumed."), ("resume", "Send there again.")):
        add(name, words).add_argument("destination", metavar="DEST", help="its title")
    resend = add("resend", "Send a study again that the spool still holds.")
    resend.add_argument("study", metavar="STUDY", help="its Study Instance UID")
    resend.add_argument("--to", metavar="DEST", dest="destination", help="only there; without it: where it went before")
    add("left", "How much is not delivered yet, with a relay that runs or a spool that lies still; status 2 with some.")
    back = add("reidentify", "Who stands behind a UID or pseudonym, as far as the spool holds the original.")
    back.add_argument("asked", nargs="?", help="as the destination shows it; without it: who asked so far, and why")
    back.add_argument("--reason", metavar="TEXT", help="why; it is written down with who asked and when")
    key = add("new-key", "Say that the spool's key is lost or was exchanged; pseudonyms and UIDs change from then on.")
    key.add_argument(
        "--reason", metavar="TEXT", required=True, help="why; it is written down with who said so and when"
    )
    add("drain", "Take no more, send what is queued, exit.")
    when = add("when", "Where a route leads at a time, and the week that follows.")
    when.add_argument("route", metavar="ROUTE", help="its name in CONFIG")
    when.add_argument("--at", metavar="TIME", help="ISO 8601, with a zone; now by default")
    return parser


def main(arguments: Sequence[str] | None = None, program: str = "fleet relay") -> int:
    """Carry out a verb; never raises."""
    options = vars(make_parser(program).parse_args(arguments))
    verb, path = options.pop("verb"), options.pop("config")
    try:
        return _carry_out(verb, path, options)
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return WRONG_USAGE
    except FleetError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2 if error.found_wrong else 1
    except (BrokenPipeError, KeyboardInterrupt):
        return 1


def _carry_out(verb: str, path: Path, options: dict[str, Any]) -> int:
    if verb == "run":
        return run(path)
    if verb == "check":
        return check(path)
    if verb == "left":
        return left(read_config(path).spool)
    config = read_config(path)
    if verb == "new-key":
        return make_new_key(config.spool, options["reason"])
    if verb == "when":
        from fleet.relay.route.decide import describe  # zones are read by this verb and the daemon alone

        route = config.route(options["route"])
        if route is None:
            known = [each.name for each in config.routes]
            hint = did_you_mean(options["route"], known) or f"; there are {', '.join(known)}"
            raise UsageError(f"no route {options['route']!r}{hint}")
        print(describe(route, _time(options["at"])))
        return 0
    _print(verb, options, ask(config.spool, _request(verb, options)))
    return 0


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no time; write it like 2026-03-29T02:30+01:00") from error
    return found if found.tzinfo else found.astimezone()


def _request(verb: str, options: dict[str, Any]) -> dict[str, Any]:
    if verb == "list":
        return {"verb": "list", "states": options["state"]}
    if verb == "quarantine":
        if options["what"] == "show":
            return {"verb": "list", "states": ["quarantined", "unrouted"]}
        if options["task"] is None:
            raise UsageError(f"name the task to {options['what']}; `quarantine CONFIG show` lists them")
        return {"verb": options["what"], "task": options["task"]}
    if verb == "reidentify" and options["asked"] is not None and not (options["reason"] or "").strip():
        raise UsageError("say why, by --reason; it is written down with who asked; nothing was looked up")
    given = {key: value for key, value in options.items() if value is not None and key != "json"}
    return {"verb": verb, **given}


def _print(verb: str, options: dict[str, Any], answer: Any) -> None:
    if isinstance(answer, str):
        print(answer, end="")
    elif verb == "status" and not options["json"]:
        print("\n".join(_status_lines(answer)))
    elif isinstance(answer, list):
        for row in answer:
            print(json.dumps(row))
        if verb == "reidentify" and options["asked"] is not None and not answer:
            print(
                "nothing that the spool still holds stands behind it; that you asked is written down", file=sys.stderr
            )
    else:
        print(json.dumps(answer, indent=2))


def _status_lines(status: dict[str, Any]) -> list[str]:
    states = ", ".join(f"{number} {state}" for state, number in status["states"].items())
    lines = [
        f"{status['ae_title']} on port {status['port']}, up {status['up_s']:.0f} s"
        + (", draining" if status["draining"] else ""),
        f"{status['associations']} associations; {states}; {status['free_bytes'] / 1e9:.1f} GB free above the reserve",
        f"{status['kept']['instances']} instances of {status['kept']['bytes'] / 1e9:.1f} GB are kept, delivered or not",
    ]
    for each in status["destinations"]:
        why = f" ({each['why']})" if each["why"] else ""
        lines.append(
            f"  {each['destination']:<16} {each['state']:<8} {each['queued']} queued,"
            f" oldest {each['oldest_s']:.0f} s, {each['last_minute']} in the last minute{why}"
        )
    unrouted = status["unrouted"]
    lines += [f"  unrouted {each['tasks']:>15} of route {each['route'] or '-'}: {each['why']}" for each in unrouted]
    for each in status["callers"]:
        last = datetime.fromtimestamp(each["last_at"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        lines.append(f"  from {each['calling']:<16} last {last}, {each['instances']} instances")
    return lines


def check(path: Path) -> int:
    """Whether the file can be carried out."""
    from fleet.relay.daemon import load
    from fleet.relay.rules import load_transform

    config, warnings = load(path, load_transform(), datetime.now(UTC))
    for warning in warnings:
        print(warning, file=sys.stderr)
    print(f"{path}: {len(config.routes)} routes to {len(config.destinations)} destinations, no problem")
    return 0


def left(folder: Path) -> int:
    """Whether the spool could be taken away without losing anything: 0 where all is delivered or given up."""
    if not folder.exists():
        print(f"{folder} is not there: nothing is left")
        return 0
    try:
        states = ask(folder, {"verb": "status"})["states"]
    except FleetError:
        states = _count_still(folder)
    told = ", ".join(f"{number} {state}" for state, number in states.items() if number)
    print(f"{told or 'nothing'} left in {folder}")
    return 2 if told else 0


def _count_still(folder: Path) -> dict[str, int]:
    from fleet.relay.operate.ledger import count_states

    with _opening(folder) as spool:
        return count_states(spool)


@contextmanager
def _opening(folder: Path) -> Iterator["Spool"]:
    """A spool that no relay has open; as its owner, so that root leaves no file in it that the relay cannot open."""
    from fleet.relay.spool.queue import Spool

    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
    spool = Spool(folder)
    try:
        yield spool
    finally:
        spool.close()


def make_new_key(folder: Path, reason: str) -> int:
    """The key that lies in the spool holds from now on, or a new one where none does; the relay has to be stopped."""
    from fleet.relay.spool.key import KEY_BYTES, NewKey, accept_key

    if not folder.is_dir():
        raise FleetError(f"{folder} is not there; a new spool makes its key by itself")
    with _opening(folder) as spool:
        accept_key(spool, lambda: os.urandom(KEY_BYTES), NewKey(time.time(), os.getuid(), reason))
    print(f"the key in {folder} holds from now on; keep a copy of it where it is safe")
    return 0


def _write_line(line: str) -> None:
    with suppress(OSError):  # a log that takes no more (its disk full, its reader gone) must not stop what is logged
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def run(path: Path) -> int:
    """The daemon, in this process and its threads."""
    from fleet.relay.daemon import Daemon, Outside

    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold images (T73)
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # every thread inherits this; only this one waits for them
    tell = Teller(_write_line, os.urandom(32), time.time)
    daemon = Daemon(path, Outside(tell, Notifier(os.environ.get("NOTIFY_SOCKET"))))
    daemon.start()
    try:
        while True:
            got = signal.sigtimedwait(signals, 1.0)
            if got is not None and got.si_signo == signal.SIGHUP:
                daemon.reload()
            elif got is not None:
                return 0
            if not daemon.step():
                return 0
    finally:
        daemon.stop()


if __name__ == "__main__":
    sys.exit(main())
