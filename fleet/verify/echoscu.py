"""What dcmtk's echoscu on a host is asked, and what its words mean. Pure: somebody else runs it there.

Its exit status lies (0 when the peer answers with a failure, 0 when it aborts), and its timeouts are unlimited
by default and for each read: so `-v` is asked for, the words are read, every timeout is given, and whoever runs
it puts a wall clock round it. Tried with dcmtk 3.6.7.
"""

import math
import re

from fleet.dicom.pdu import AssociateRJ
from fleet.verify.classify import Parties, describe_rejection, describe_status
from fleet.verify.values import EchoResult, EchoTarget, Outcome

ECHOSCU_PATHS = ("/usr/bin/echoscu", "/usr/local/bin/echoscu", "/opt/dcmtk/bin/echoscu")
_ENDED_BY_TIMEOUT = frozenset({124, 137, 143})  # timeout(1), and by the signals that it sends

_RESULTS = {"permanent": 1, "transient": 2}
_SOURCES = {"service user": 1, "acse": 2, "presentation": 3}
_REASONS = {
    "app context name": 2,
    "application context name": 2,
    "calling ae title": 3,
    "called ae title": 7,
    "protocol version": 2,
    "temporary congestion": 1,
    "local limit": 2,
    "no reason": 1,
}

_ANSWER = re.compile(r"received echo response \(([^)\n]*)", re.IGNORECASE)

# What stands in the output, in the order in which it is looked for.
_WORDS: tuple[tuple[str, Outcome, str], ...] = (
    ("attempt to connect to unknown host", Outcome.NAME_NOT_FOUND, "the host cannot resolve the name"),
    ("connection refused", Outcome.REFUSED, "the connection was refused: nothing listens there, or a firewall rejects"),
    ("network is unreachable", Outcome.NO_ROUTE, "the host has no route; check its gateway and firewalls"),
    ("no route to host", Outcome.NO_ROUTE, "the host has no route; check its gateway and firewalls"),
    (
        "certificate verify failed",
        Outcome.TLS_FAILED,
        "the peer's certificate has expired or is of an authority that we do not trust; echoscu does not tell which",
    ),
    ("openssl i/o error", Outcome.TLS_FAILED, "the TLS handshake broke; the peer seems not to speak TLS"),
    ("tls error", Outcome.TLS_FAILED, "the TLS handshake failed"),
    ("tls read operation did not complete", Outcome.TLS_FAILED, "the TLS handshake was not over in time"),
    ("tcp i/o error", Outcome.CONNECTION_LOST, "the connection broke while it was used; look into the peer's log"),
    (
        "tcp initialization error",
        Outcome.CONNECT_TIMEOUT,
        "the connection was not opened in time; the peer is off, or a firewall drops",
    ),
    ("no acceptable presentation contexts", Outcome.CONTEXT_NOT_ACCEPTED, "Verification was not accepted"),
    ("dimse no data available", Outcome.ECHO_TIMEOUT, "C-ECHO was not answered in time; the service may hang"),
    ("unrecognized pdu type", Outcome.NOT_DICOM, "the answer is not DICOM; check the port"),
    ("network read timeout", Outcome.ASSOCIATION_TIMEOUT, "the association request was not answered in time"),
)
_LOST = "peer aborted association"


CANNOT_PRESENT = (
    "it forbids forwarding, the peer wants our certificate, and our private key is not given to its echoscu; allow"
    " forwarding for fleet's user (AllowTcpForwarding local)"
)
_SYSTEM_AUTHORITIES = "/etc/ssl/certs"
_STDIN = "/dev/stdin"


def why_not(target: EchoTarget) -> str | None:
    """What keeps echoscu from asking a target at all; None where it can."""
    tls = target.tls
    if tls is None or (tls.certificate is None and not tls.crl_files and tls.ca_file is None):
        return None
    if tls.certificate is not None:
        return CANNOT_PRESENT
    return "it forbids forwarding, and our files of authorities and revocations are not on it for its echoscu"


def make_echoscu_input(target: EchoTarget) -> bytes:
    """What it reads: the authorities that it may trust, which are no secret; nothing where TLS is not wanted."""
    return (target.tls.ca_pem or "").encode() if target.tls is not None else b""


def make_echoscu_arguments(target: EchoTarget, echoes: int = 1) -> tuple[str, ...]:
    """Its options for a target, without the program's path; echoscu counts in whole seconds."""
    times = target.timeouts
    limits = (("-to", times.connect_s), ("-ts", times.acse_s), ("-ta", times.acse_s), ("-td", times.dimse_s))
    options = [word for option, seconds in limits for word in (option, str(max(1, math.ceil(seconds))))]
    if echoes > 1:
        options += ["--repeat", str(echoes)]
    if target.tls is not None:
        trusted = ["+cf", _STDIN] if target.tls.ca_pem else ["+cd", _SYSTEM_AUTHORITIES]
        options += ["+tla", *(trusted if target.tls.require_certificate else ["-ic"])]
    return ("-v", "-aet", target.calling, "-aec", target.ae_title, *options, target.address, str(target.port))


def classify_echoscu(target: EchoTarget, status: int, output: str, elapsed_s: float, echoes: int = 1) -> EchoResult:
    """The result that echoscu's words mean; words that nobody knows are `unknown` and shown."""
    result = _classify(target, status, output, echoes)
    how = f"asked by dcmtk's echoscu on {target.source}, which forbids forwarding"
    if echoes > 1:
        how += f"; {len(_ANSWER.findall(output))} of {echoes} echoes were answered, the time of each is not told there"
    detail = f"{result.detail}; {how}" if result.detail else how
    warnings = result.warnings
    if target.overridden:
        warnings += (f"asked although policy spares it: {target.overridden}",)
    if result.outcome is Outcome.ANSWERED and target.tls is not None and target.tls.check_name:
        warnings += ("echoscu verified the peer's chain, but cannot compare the name in its certificate",)
    if result.outcome is Outcome.ANSWERED and target.expect is not None:
        warnings += ("what is expected of it beyond C-ECHO cannot be asked by echoscu, and was not",)
    return result._replace(detail=detail, warnings=warnings, elapsed_s=elapsed_s)


def _classify(target: EchoTarget, status: int, output: str, echoes: int) -> EchoResult:
    text = output.lower()
    answers = _ANSWER.findall(text)
    failed = [words for words in answers if words != "success"]
    if failed or len(answers) >= echoes:  # else it ended in the middle, and said how
        return _classify_answer(target, (failed or answers)[0])
    if "association rejected" in text:
        return EchoResult(target, Outcome.ASSOCIATION_REJECTED, detail=_describe_rejection(target, output))
    for words, outcome, detail in _WORDS:
        if words in text:
            return EchoResult(target, outcome, detail=detail)
    accepted = "association accepted" in text
    if _LOST in text:
        return _classify_loss(target, accepted)
    if status in _ENDED_BY_TIMEOUT:
        outcome = Outcome.ECHO_TIMEOUT if accepted else Outcome.ASSOCIATION_TIMEOUT
        return EchoResult(target, outcome, detail="echoscu was not done within the total deadline and was ended")
    shown = " ".join(output.split())[:200]
    return EchoResult(target, Outcome.UNKNOWN, detail=f"echoscu ended with {status} and said {shown!a}")


def _classify_answer(target: EchoTarget, words: str) -> EchoResult:
    if words == "success":
        return EchoResult(target, Outcome.ANSWERED, 0)
    number = re.search(r"0x([0-9a-f]{1,4})", words)
    if number is None:
        return EchoResult(target, Outcome.ECHO_FAILED, detail=f"C-ECHO was answered with {words!a}")
    status = int(number.group(1), 16)
    return EchoResult(target, Outcome.ECHO_FAILED, status, describe_status(status, ""))


def _classify_loss(target: EchoTarget, accepted: bool) -> EchoResult:
    """echoscu has the same words for an A-ABORT and for a connection that was closed."""
    if accepted:
        words = "the peer aborted the C-ECHO, or closed the connection (echoscu does not tell the two apart)"
        return EchoResult(target, Outcome.ASSOCIATION_ABORTED, detail=words)
    words = "the peer closed the connection or aborted before it accepted; often a list of allowed addresses"
    return EchoResult(target, Outcome.CONNECTION_LOST, detail=words)


def _describe_rejection(target: EchoTarget, output: str) -> str:
    """PS3.8 table 9-21 in our words, from dcmtk's."""
    found = [
        next((number for words, number in table.items() if words in line), 0)
        for table, line in zip((_RESULTS, _SOURCES, _REASONS), _rejection_lines(output.lower()), strict=True)
    ]
    if 0 in found:
        return f"rejected; echoscu says {' '.join(output.split())[:200]!a}"
    parties = Parties(target.ae_title, target.calling, f"the address of {target.source}")
    return describe_rejection(AssociateRJ(*found), parties)


def _rejection_lines(text: str) -> tuple[str, str, str]:
    said = re.search(r"result: ([^,\n]*), source: ([^\n]*)", text)
    reason = re.search(r"reason: ([^\n]*)", text)
    return (said.group(1) if said else "", said.group(2) if said else "", reason.group(1) if reason else "")
