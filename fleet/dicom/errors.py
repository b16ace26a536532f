"""What goes wrong in the upper layer, and the A-ABORT to answer it with (PS3.8 table 9-26)."""

from enum import IntEnum


class AbortSource(IntEnum):
    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Reasons of the service provider; the user's reason is not significant."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER_VALUE = 6


class DicomError(Exception):
    """Base of everything this package raises, illegal AE titles apart."""


class PeerError(DicomError):
    """The peer sent bytes that the standard does not allow; carries what to abort with."""

    source = AbortSource.SERVICE_PROVIDER

    def __init__(self, reason: AbortReason, words: str) -> None:
        super().__init__(words)
        self.reason = reason
        self.words = words


class UnrecognizedPduError(PeerError):
    """The first byte is no PDU type: very likely the peer is not DICOM at all."""

    def __init__(self, head: bytes) -> None:
        super().__init__(AbortReason.UNRECOGNIZED_PDU, f"{head[0]:02X}H is not the type of a PDU")
        self.head = head


class PduTooLongError(PeerError):
    """The declared length exceeds the bound; known from the first six bytes, nothing was allocated."""

    def __init__(self, pdu_type: int, declared_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            AbortReason.INVALID_PARAMETER_VALUE,
            f"a PDU of type {pdu_type:02X}H declares {declared_bytes} bytes; at most {limit_bytes} are read",
        )
        self.declared_bytes = declared_bytes
        self.limit_bytes = limit_bytes


class UnexpectedPduError(PeerError):
    """A PDU that PS3.8 table 9-10 does not allow in the present state."""

    def __init__(self, words: str) -> None:
        super().__init__(AbortReason.UNEXPECTED_PDU, words)


class InvalidValueError(PeerError):
    """A PDU or item whose content contradicts itself or the standard."""

    def __init__(self, words: str) -> None:
        super().__init__(AbortReason.INVALID_PARAMETER_VALUE, words)


class LocalUseError(DicomError):
    """Our own side asked for what its state does not allow: a fault of the caller, never of the peer."""
