"""`fleet echo`: one association, with the options of dcmtk's echoscu and their meaning.

dcmtk's options begin with one dash or a plus and have several letters; they are put into click's form first.
What is unlimited there by default is 30 seconds here, and the exit status tells the truth.
"""

import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fleet.cli.door import VAULT_OPTIONS, default_history, open_vault
from fleet.cli.echo_text import format_probe
from fleet.dicom.ae_title import check_ae_title
from fleet.errors import UsageError
from fleet.verify.der import format_certificate_pem, format_key_pem
from fleet.verify.probe import ProbeOptions, probe
from fleet.verify.values import ClientCertificate, Outcome, Timeouts, TlsSettings
from fleet.workflow.call import Call

# dcmtk 3.6.7's short names → the long ones here; how many values follow is the long option's business.
DCMTK = {
    "-aet": "--aetitle",
    "-aec": "--call",
    "-pts": "--propose-ts",
    "-ppc": "--propose-pc",
    "-to": "--timeout",
    "-ts": "--socket-timeout",
    "-ta": "--acse-timeout",
    "-td": "--dimse-timeout",
    "-pdu": "--max-pdu",
    "-tls": "--disable-tls",
    "+tls": "--enable-tls",
    "+tla": "--anonymous-tls",
    "+ps": "--std-passwd",
    "+pw": "--use-passwd",
    "-pw": "--null-passwd",
    "-pem": "--pem-keys",
    "-der": "--der-keys",
    "+cf": "--add-cert-file",
    "+cd": "--add-cert-dir",
    "+crl": "--add-crl-file",
    "+cs": "--cipher",
    "-rc": "--require-peer-cert",
    "-vc": "--verify-peer-cert",
    "-ic": "--ignore-peer-cert",
    "-ll": "--log-level",
    "--aet": "--aetitle",
    "--aec": "--call",
}


# What says how TLS is spoken says nothing where it is not spoken: dcmtk refuses these too.
_ONLY_WITH_TLS = (
    *("std_passwd", "use_passwd", "null_passwd", "pem_keys", "der_keys"),
    *("add_cert_file", "add_cert_dir", "add_crl_file", "cipher"),
    *("require_peer_cert", "verify_peer_cert", "ignore_peer_cert"),
)


class DcmtkCommand(click.Command):
    """Reads dcmtk's way of writing options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`-aet X` and `+cf FILE` become what click knows."""
        try:
            return super().parse_args(ctx, [DCMTK.get(word, word) for word in args])
        except click.BadOptionUsage as error:
            short = next((word for word in args if DCMTK.get(word) == error.option_name), None)
            if short is None:
                raise
            raise click.UsageError(f"{short}: {error.message}", error.ctx) from error
        except click.BadParameter as error:
            long = error.param.opts[0] if error.param else None
            short = next((word for word in args if DCMTK.get(word) == long), None)
            if short is None:
                raise
            raise click.BadParameter(f"{short}: {error.message}", error.ctx, error.param) from error  # as it was typed


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


class Seconds(click.FloatRange):
    """How long to wait at most. dcmtk's `-ts 0` (and -1), and its lack of `-to` and `-td`, mean for ever."""

    def __init__(self) -> None:
        super().__init__(0.01, 86400)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The seconds; what is no time at all is refused with the reason why."""
        try:
            endless = not float(value) > 0  # nan is no time either
        except ValueError:
            endless = False
        if endless:
            text = (
                f"{value} is no time to wait: dcmtk's 0 means without limit, and fleet bounds every wait, so that a"
                " peer that hangs is told; give seconds from 0.01 to 86400 (a day)"
            )
            self.fail(text, param, ctx)
        return super().convert(value, param, ctx)


_SECONDS = Seconds()
_ASSOCIATION = _options(
    click.option("--aetitle", help="-aet: my calling AE title.  [default: ECHOSCU, with --as the caller]"),
    click.option("--call", help="-aec: the called AE title.  [default: ANY-SCP]"),
    click.option("--propose-ts", type=click.IntRange(1, 31), default=1, help="-pts: propose N transfer syntaxes."),
    click.option("--propose-pc", type=click.IntRange(1, 128), default=1, help="-ppc: propose N contexts."),
    click.option("--timeout", type=_SECONDS, default=30.0, show_default=True, help="-to: for connecting."),
    click.option("--socket-timeout", type=_SECONDS, default=30.0, show_default=True, help="-ts: for the socket."),
    click.option("--acse-timeout", type=_SECONDS, default=30.0, show_default=True, help="-ta: for the association."),
    click.option("--dimse-timeout", type=_SECONDS, default=30.0, show_default=True, help="-td: for the echo."),
    click.option("--max-pdu", type=click.IntRange(4096, 131072), default=16384, show_default=True, help="-pdu."),
    click.option("--repeat", type=click.IntRange(1, 100_000), default=1, help="Echo N times."),
    click.option("--abort", is_flag=True, help="Abort the association instead of releasing it."),
)
_FILE = click.Path(path_type=Path, exists=True)
_TLS = _options(
    click.option("--disable-tls", is_flag=True, help="-tls: plain TCP (default)."),
    click.option("--enable-tls", nargs=2, type=_FILE, metavar="KEY CERT", help="+tls: TLS with our certificate."),
    click.option("--anonymous-tls", is_flag=True, help="+tla: TLS without a certificate of ours."),
    click.option("--std-passwd", is_flag=True, help="+ps: ask for the key's password (default)."),
    click.option("--use-passwd", metavar="TEXT", help="+pw: the key's password."),
    click.option("--null-passwd", is_flag=True, help="-pw: the key's password is empty."),
    click.option("--pem-keys", is_flag=True, help="-pem: PEM files (default)."),
    click.option("--der-keys", is_flag=True, help="-der: DER files."),
    click.option("--add-cert-file", type=_FILE, multiple=True, help="+cf: a CA's certificate."),
    click.option("--add-cert-dir", type=_FILE, multiple=True, help="+cd: a folder of CA certificates."),
    click.option("--add-crl-file", type=_FILE, multiple=True, help="+crl: a revocation list."),
    click.option("--cipher", multiple=True, help="+cs: a cipher suite."),
    click.option("--require-peer-cert", is_flag=True, help="-rc: verify the peer's certificate (default)."),
    click.option(
        "--verify-peer-cert",
        is_flag=True,
        help="-vc: verify it if present; a TLS server always presents one, so this is -rc.",
    ),
    click.option("--ignore-peer-cert", is_flag=True, help="-ic: do not verify it."),
)
_SAYING = _options(
    click.option("--quiet", "-q", is_flag=True, help="Say nothing."),
    click.option("--verbose", "-v", is_flag=True, help="Show what was negotiated."),
    click.option("--debug", "-d", is_flag=True, help="Show the bytes."),
    click.option("--log-level", type=click.Choice(["fatal", "error", "warn", "info", "debug", "trace"]), help="-ll."),
)


@click.command("echo", cls=DcmtkCommand, context_settings={"ignore_unknown_options": False})
@click.argument("peer")
@click.argument("port", required=False)
@click.option("--as", "caller", metavar="CALLER", help="By the inventory's names: `fleet echo --as CALLER CALLED`.")
@click.option("-i", "--inventory", type=click.Path(path_type=Path), default=Path("inventory"), help="The inventory.")
@click.option("--override", is_flag=True, help="With --as: ask also what policy or maintenance spares.")
@_ASSOCIATION
@_TLS
@_SAYING
@VAULT_OPTIONS[0]
@VAULT_OPTIONS[1]
def command(peer: str, port: str | None, caller: str | None, inventory: Path, **options: Any) -> int:
    """Hold one association with PEER at PORT: C-ECHO, release, and the truth about it.

    The options are dcmtk's echoscu's (3.6.7), short or long. Exit status: 0 it answered, 2 it did not.
    """
    call = _typed_call(peer, port, options) if caller is None else _named_call(peer, port, caller, inventory, options)
    report = probe(
        ProbeOptions(
            address=call.address,
            port=call.port,
            called=call.called,
            calling=call.calling,
            contexts=options["propose_pc"],
            transfer_syntaxes=options["propose_ts"],
            timeouts=_timeouts(options),
            max_pdu_bytes=options["max_pdu"],
            repeat=options["repeat"],
            abort_at_end=options["abort"],
            tls=_tls(options) or call.tls,
        )
    )
    level = _level(options)
    if level:
        print(format_probe(report, level), end="")
        if report.result.outcome is Outcome.LOCAL_ERROR:
            print("".join(f"  given: {name} {path}\n" for name, path in _tls_files(options)), end="")
    return 0 if report.result.outcome is Outcome.ANSWERED else 2


def _level(options: dict[str, Any]) -> int:
    """0 nothing, 1 the result, 2 the negotiation, 3 the bytes."""
    chosen = {"fatal": 0, "error": 1, "warn": 1, "info": 2, "debug": 3, "trace": 3}.get(options["log_level"] or "")
    if options["quiet"]:
        return 0
    if options["debug"]:
        return 3
    return chosen if chosen is not None else 2 if options["verbose"] else 1


def _timeouts(options: dict[str, Any]) -> Timeouts:
    """What dcmtk's `-ts` says of the socket holds for each wait on it: to connect, for an association, for an echo."""
    names = ("timeout", "acse_timeout", "dimse_timeout")
    connect_s, acse_s, dimse_s = (min(options[name], options["socket_timeout"]) for name in names)
    return Timeouts(connect_s, acse_s, dimse_s, connect_s + acse_s + dimse_s * options["repeat"] + 5.0)


def _typed_call(peer: str, port: str | None, options: dict[str, Any]) -> Call:
    """Address, port and titles as typed."""
    if port is None:
        host, colon, behind = peer.rpartition(":")
        typed = f"{host} {behind}" if colon and behind.isdigit() else f"{peer} PORT"
        raise UsageError(f"there is no port: type `fleet echo {typed}`, or --as CALLER {peer}; nothing was asked")
    if not (port.isascii() and port.isdigit() and len(port) <= 5) or not 1 <= int(port) <= 65535:
        raise UsageError(f"the port {port!r} is no number from 1 to 65535; nothing was asked")
    called, calling = options["call"] or "ANY-SCP", options["aetitle"] or "ECHOSCU"
    _check_titles({"-aec": called, "-aet": calling})
    return Call(peer, int(port), called, calling)


def _named_call(peer: str, port: str | None, caller: str, inventory: Path, options: dict[str, Any]) -> Call:
    """Address, port and titles from the inventory; a title that is typed besides holds."""
    from fleet.workflow.context import Context  # the inventory is read only when names are typed
    from fleet.workflow.naming import find_call
    from fleet.workflow.reading import read_valid

    if port is not None:
        raise UsageError("with --as the peer's address and port come from the inventory: fleet echo --as CALLER CALLED")
    vault = open_vault(options["vault_password_file"], options["vault_password_command"])
    context = Context(inventory, default_history(), who=getpass.getuser(), vault=vault)
    found = find_call(read_valid(context), context, caller, peer, override=options["override"])
    typed = {"called": options["call"] or found.called, "calling": options["aetitle"] or found.calling}
    _check_titles({"-aec": typed["called"], "-aet": typed["calling"]})
    return Call(found.address, found.port, typed["called"], typed["calling"], found.tls)


def _check_titles(titles: dict[str, str]) -> None:
    for option, title in titles.items():
        reason = check_ae_title(title)
        if reason:
            raise UsageError(f"{option} {title!r}: the AE title {reason}; nothing was asked")


def _tls_files(options: dict[str, Any]) -> list[tuple[str, Path]]:
    """The files that were given, by dcmtk's names of their options."""
    pair = zip(("+tls", "+tls"), options["enable_tls"] or (), strict=False)
    more = (("+cf", "add_cert_file"), ("+cd", "add_cert_dir"), ("+crl", "add_crl_file"))
    return [*pair, *((name, path) for name, option in more for path in options[option])]


def _tls(options: dict[str, Any]) -> TlsSettings | None:
    pair = options["enable_tls"]
    if options["disable_tls"] or not (pair or options["anonymous_tls"]):
        idle = next((name for name in _ONLY_WITH_TLS if options[name] not in (None, False, ())), None)
        if idle is not None:
            option = f"--{idle.replace('_', '-')}"
            short = next(short for short, long in DCMTK.items() if long == option)
            raise UsageError(f"{short} ({option}) goes with +tls or +tla only; nothing was asked")
        return None
    password = "" if options["null_passwd"] else options["use_passwd"]
    if password is None and pair and options["std_passwd"] and sys.stdin.isatty():
        password = click.prompt("password of the private key", hide_input=True, err=True)
    return TlsSettings(
        ca_pem="".join(_read_pem(path, options, format_certificate_pem) for path in options["add_cert_file"]) or None,
        ca_folders=tuple(str(path) for path in options["add_cert_dir"]),
        crl_files=tuple(str(path) for path in options["add_crl_file"]),
        certificate=_client_certificate(pair, options, password) if pair else None,
        require_certificate=not options["ignore_peer_cert"],
        check_name=False,  # dcmtk verifies the chain alone; the inventory's `tls.verify.name` is for sweeps
        ciphers=options["cipher"],
    )


def _client_certificate(pair: tuple[Path, Path], options: dict[str, Any], password: str | None) -> ClientCertificate:
    key, cert = _read_pem(pair[0], options, format_key_pem), _read_pem(pair[1], options, format_certificate_pem)
    return ClientCertificate(cert.encode(), key.encode(), password)


def _read_pem(path: Path, options: dict[str, Any], format_pem: Callable[[bytes], str]) -> str:
    """A file as PEM text; with -der it is DER."""
    try:
        data = path.read_bytes()
        return format_pem(data) if options["der_keys"] else data.decode("ascii", "replace").rstrip() + "\n"
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error
