"""How a dialogue that did not go well is called, by the phase it was in: pure functions to outcome and words.

Once the outcome is known and only the release is under way, the words become a warning, whatever the
outcome would have been; that is the dialogue's to decide.
"""

from enum import Enum

from fleet.dicom.errors import PduTooLongError, PeerError, UnrecognizedPduError
from fleet.verify.classify import describe_lost, describe_stranger, looks_like_tls
from fleet.verify.values import Outcome


class Phase(Enum):
    """Where the dialogue is; the values complete the sentence "the peer aborted …"."""

    CONNECT = "while the connection was opened"
    TLS = "during the TLS handshake"
    ASSOCIATE = "the association request"
    ECHO = "the C-ECHO"
    RELEASE = "the release"
    OVER = "after the end"


_DURING = {
    Phase.ASSOCIATE: "while the association was requested",
    Phase.ECHO: "during C-ECHO",
}
_WANTS_TLS = "it seems to want TLS: it answered our plain request with a TLS record"
_LAST_PDU_TYPE = 0x07


def classify_fault(phase: Phase, error: PeerError, head: bytes) -> tuple[Outcome, str]:
    """The peer broke the protocol; *head* is the beginning of all that it sent."""
    if phase is Phase.RELEASE:
        return Outcome.ASSOCIATION_ABORTED, error.words
    if phase is not Phase.ASSOCIATE:
        return Outcome.ASSOCIATION_ABORTED, f"we aborted {_DURING[phase]}: {error.words}"
    if looks_like_tls(head):
        return Outcome.TLS_FAILED, _WANTS_TLS
    if isinstance(error, UnrecognizedPduError | PduTooLongError):
        return Outcome.NOT_DICOM, f"{error.words}; {describe_stranger(head)}"
    return Outcome.NOT_DICOM, f"the answer to the association request is not one: {error.words}"


def classify_loss(phase: Phase, number: int | None, received_bytes: int, port: int, head: bytes) -> tuple[Outcome, str]:
    """The connection ended without the PDU that was due; *number* is an errno, None for an orderly close."""
    if phase is Phase.RELEASE:
        return Outcome.CONNECTION_LOST, "the peer closed the connection without answering the release"
    if looks_like_tls(head):
        return Outcome.TLS_FAILED, _WANTS_TLS
    if phase is Phase.ASSOCIATE and head and head[0] > _LAST_PDU_TYPE:
        return Outcome.NOT_DICOM, describe_stranger(head)
    return Outcome.CONNECTION_LOST, describe_lost(number, _DURING[phase], received_bytes, port)


def classify_expiry(phase: Phase, limit: str, received_bytes: int) -> tuple[Outcome, str]:
    """A deadline passed; *limit* says which."""
    came = f" ({received_bytes} bytes came)" if received_bytes else ""
    if phase is Phase.CONNECT:
        words = f"the connection was not answered within {limit}; the host is off, or a firewall drops"
        return Outcome.CONNECT_TIMEOUT, words
    if phase is Phase.TLS:
        return Outcome.TLS_FAILED, f"the TLS handshake was not over within {limit}{came}; it may not speak TLS"
    if phase is Phase.ASSOCIATE:
        words = f"the association request was not answered within {limit}{came}; the service may hang"
        return Outcome.ASSOCIATION_TIMEOUT, words
    if phase is Phase.ECHO:
        return Outcome.ECHO_TIMEOUT, f"C-ECHO was not answered within {limit}; the service may hang"
    return Outcome.ASSOCIATION_TIMEOUT, f"the peer did not answer the release within {limit}"
