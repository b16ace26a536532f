"""From what happened on the wire to an outcome and its words.

The words follow one pattern: what happened, in the standard's terms; the usual cause; who acts and
what to try next. Everything here is pure and works on values.
"""

import errno
from dataclasses import dataclass

from fleet.dicom.items import PresentationContextAC
from fleet.dicom.pdu import Abort, AssociateRJ
from fleet.verify.values import Outcome

# PS3.8 table 9-21: (source, reason) to meaning, usual cause, next step. Anything else is reserved.
_REJECTIONS: dict[tuple[int, int], tuple[str, str, str]] = {
    (1, 1): (
        "no reason given",
        "often a list of allowed addresses or titles on the peer",
        "the peer's administrator has to admit {calling} from {ours}",
    ),
    (1, 2): (
        "application context name not supported",
        "a software fault or a very old peer",
        "the peer's vendor has to act",
    ),
    (1, 3): (
        "calling AE title not recognized",
        "the peer does not know {calling}",
        "the peer's administrator has to add {calling} at {ours}",
    ),
    (1, 7): (
        "called AE title not recognized",
        "the peer does not go by {called}; dcmqrscp says this also for a caller or address it does not know",
        "check the title {called} and the port, and that the peer lists {calling} at {ours}",
    ),
    (2, 1): ("no reason given", "the peer's own upper layer refused", "look into the peer's log"),
    (2, 2): ("protocol version not supported", "a software fault", "the peer's vendor has to act"),
    (3, 1): ("temporary congestion", "the peer is busy", "ask again later"),
    (3, 2): ("local limit exceeded", "too many associations at once", "ask with fewer at a time, or later"),
}
_RESULTS = {1: "permanent", 2: "transient"}
_SOURCES = {1: "service user", 2: "service provider, ACSE", 3: "service provider, presentation"}

# PS3.8 table 9-26, reasons of the service provider.
_ABORT_REASONS = {
    0: "reason not specified",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}

# PS3.8 table 9-18.
_CONTEXT_RESULTS = {
    0: "accepted",
    1: "user rejection",
    2: "no reason given by the provider",
    3: "abstract syntax not supported",
    4: "transfer syntaxes not supported",
}

# PS3.7 annex C and 9.1.5.1.4.
_STATUSES = {
    0x0122: "SOP class not supported",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0110: "processing failure",
}

# How the first bytes of other protocols look. RDP's TPKT (RFC 1006) starts like an A-ASSOCIATE-RJ.
_PROTOCOLS: tuple[tuple[bytes, str], ...] = (
    (b"HTTP/", "a web server (HTTP)"),
    (b"<!DOCTYPE", "a web server (HTML)"),
    (b"<html", "a web server (HTML)"),
    (b"SSH-", "an SSH server"),
    (b"\x15\x03", "a TLS server"),
    (b"\x16\x03", "a TLS server"),
    (b"\x0bMSH", "an HL7 server (MLLP)"),
    (b"RFB ", "a VNC server"),
    (b"\x03\x00\x00\x13\x0e\xd0", "a remote desktop server (RDP)"),
    (b"220", "a mail or FTP server"),
    (b"+OK", "a POP3 server"),
    (b"* OK", "an IMAP server"),
    (b"-ERR", "a Redis server"),
    (b"\xff\xfb", "a Telnet server"),
    (b"\xff\xfd", "a Telnet server"),
    (b"\xffSMB", "a file server (SMB)"),
    (b"RTSP/", "a media server (RTSP)"),
)


@dataclass(frozen=True, slots=True)
class Parties:
    """Who spoke: both titles, the peer's address, and ours as far as it is known."""

    called: str
    calling: str
    ours: str = "our address"


def is_busy(rejection: AssociateRJ) -> bool:
    """Source 3 is transient whatever the result says: dcmqrscp's "cannot fork" comes as 1/3/1."""
    return rejection.source == 3 and rejection.reason in (1, 2)


def describe_rejection(rejection: AssociateRJ, parties: Parties) -> str:
    result = _RESULTS.get(rejection.result, "reserved")
    source = _SOURCES.get(rejection.source, "reserved")
    numbers = f"{rejection.result}/{rejection.source}/{rejection.reason}"
    known = _REJECTIONS.get((rejection.source, rejection.reason))
    if known is None:
        return (
            f"rejected ({result}) by {source}: a reason outside PS3.8 table 9-21 "
            f"(result/source/reason {numbers}); ask the peer's vendor what it means"
        )
    names = {"calling": parties.calling, "called": parties.called, "ours": parties.ours}
    meaning, cause, step = (text.format_map(names) for text in known)
    return f"rejected ({result}) by {source}: {meaning} ({numbers}); {cause}; {step}"


def describe_abort(abort: Abort, phase: str) -> str:
    """Table 9-26: a user's reason is not significant."""
    if abort.source == 0:
        return f"the peer aborted {phase} (A-ABORT by the service user); look into the peer's log"
    if abort.source != 2:
        numbers = f"source {abort.source}, reason {abort.reason}"
        return f"the peer aborted {phase} (A-ABORT with the reserved {numbers})"
    reason = _ABORT_REASONS.get(abort.reason, f"reserved reason {abort.reason}")
    hint = "; it may expect TLS, or not be DICOM" if abort.reason == 1 else ""
    return f"the peer aborted {phase} (A-ABORT by the service provider: {reason}){hint}"


def describe_context(context: PresentationContextAC | None, asked: int, named: list[int]) -> str:
    if context is None:
        others = ", ".join(map(str, named[:8])) or "none"
        return f"the accept does not answer presentation context {asked} (it names {others})"
    result = _CONTEXT_RESULTS.get(context.result, "reserved result")
    return (
        f"Verification was not accepted: {result} ({context.result}); "
        "the peer's administrator has to allow the Verification SOP class"
    )


def describe_context_result(result: int) -> str:
    return _CONTEXT_RESULTS.get(result, f"reserved result {result}")


def describe_status(status: int, comment: str) -> str:
    words = _STATUSES.get(status, "a status other than success")
    said = f"; the peer says {comment[:64]!a}" if comment else ""
    return f"C-ECHO ended with status 0x{status:04X} ({words}){said}"


def guess_protocol(head: bytes) -> str | None:
    """Name what the first bytes of a stranger look like."""
    return next((name for start, name in _PROTOCOLS if head.startswith(start)), None)


def looks_like_tls(head: bytes) -> bool:
    """A TLS record: alert or handshake, version 3.x (RFC 8446 section 5.1)."""
    return head[:1] in (b"\x15", b"\x16") and head[1:2] == b"\x03"


def describe_stranger(head: bytes) -> str:
    name = guess_protocol(head)
    shown = head[:16].hex(" ")
    if name is not None:
        return f"this seems to be {name}, not DICOM (it sent {shown}); check the port"
    return f"the answer is not DICOM (it begins {shown}); check the port"


_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
_LOST = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ESHUTDOWN})


def classify_connect_error(number: int) -> tuple[Outcome, str]:
    """Why a connection could not be opened."""
    if number == errno.ECONNREFUSED:
        words = "the connection was refused: nothing listens there, or a firewall rejects us"
        return Outcome.REFUSED, f"{words}; start the service, or check the port"
    words = _errno_words(number)
    if number in _NO_ROUTE:
        return Outcome.NO_ROUTE, f"no route: {words}; check address, gateway and firewall"
    if number == errno.ETIMEDOUT:
        return (
            Outcome.CONNECT_TIMEOUT,
            "the connection was not answered; the host is off, or a firewall drops",
        )
    if number in _LOST:
        return Outcome.CONNECTION_LOST, f"the connection broke while it was opened: {words}"
    return Outcome.LOCAL_ERROR, f"the connection could not be opened from here: {words}"


def describe_lost(number: int | None, phase: str, received_bytes: int, port: int) -> str:
    """A close or a reset without a PDU that would explain it."""
    how = "closed" if number is None else f"broken ({_errno_words(number)})"
    if received_bytes:
        return f"the connection was {how} {phase}, after {received_bytes} bytes; look into the peer's log"
    hint = "; this port is DICOM over TLS by habit, so it may want TLS" if port in (2761, 2762) else ""
    return f"the connection was {how} without a PDU; often a list of allowed addresses{hint}"


def _errno_words(number: int) -> str:
    return f"{errno.errorcode.get(number, 'error')} {number}"
