"""Requests as bytes, encoded once and used for every target that is asked the same.

Only the two titles differ from target to target, and they stand at a fixed place (PS3.8 table 9-11), so
a request is a head, two fields and a tail. All echo requests share one P-DATA-TF for each message.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from fleet.dicom.ae_title import encode_ae_title
from fleet.dicom.association import make_command_pdu
from fleet.dicom.dimse import IMPLICIT_VR_LITTLE_ENDIAN_UID, VERIFICATION_UID, Command, EchoRQ, decode_command
from fleet.dicom.items import (
    ImplementationClassUID,
    ImplementationVersionName,
    MaximumLength,
    PresentationContextRQ,
    UserInformation,
    UserItem,
)
from fleet.dicom.pdu import AssociateRQ, Pdu, decode_pdu

# A UID of the UUID-derived kind (PS3.5 annex B.2), made once for this program.
IMPLEMENTATION_CLASS_UID = "2.25.288288099348698175073514066236783094568"
IMPLEMENTATION_VERSION = "DICOM_FLEET_1"
MAX_PDU_BYTES = 16_384
ECHO_CONTEXT_ID = 1
VERIFICATION_CONTEXT = PresentationContextRQ(ECHO_CONTEXT_ID, VERIFICATION_UID, (IMPLICIT_VR_LITTLE_ENDIAN_UID,))
_USUAL_CONTEXTS = (VERIFICATION_CONTEXT,)
MAX_REQUEST_BYTES = 16_384  # some peers crash on larger association requests
_REMEMBERED = 4096
_BLANK_TITLES = b" " * 32
_REMEMBERED_PDU_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Question:
    """One association to be held: what it proposes, how many echoes, and how it ends."""

    called: str
    calling: str
    contexts: tuple[PresentationContextRQ, ...] = _USUAL_CONTEXTS
    echoes: int = 1
    abort_at_end: bool = False
    max_pdu_bytes: int = MAX_PDU_BYTES
    user_items: tuple[UserItem, ...] = ()


def make_associate_rq(question: Question) -> AssociateRQ:
    items = (
        MaximumLength(question.max_pdu_bytes),
        ImplementationClassUID(IMPLEMENTATION_CLASS_UID),
        ImplementationVersionName(IMPLEMENTATION_VERSION),
        *question.user_items,
    )
    return AssociateRQ(question.called, question.calling, question.contexts, UserInformation(items))


class Preparer:
    """Encodes requests and decodes answers, remembering what repeats. One lives as long as one sweep."""

    def __init__(self, decode: Callable[[bytes], Pdu] = decode_pdu) -> None:
        self._tails: dict[tuple[object, ...], bytes] = {}
        self._usual_tail = b""
        self._callings: dict[str, bytes] = {}
        self._echoes: dict[int, bytes] = {}
        self._answers: dict[bytes, Pdu] = {}
        self._commands: dict[bytes, Command] = {}
        self._decode = decode

    def associate_bytes(self, question: Question) -> bytes:
        if question.contexts is _USUAL_CONTEXTS and question.max_pdu_bytes == MAX_PDU_BYTES and not question.user_items:
            tail = self._usual_tail  # no key has to be hashed for what nearly everybody is asked
            if not tail:
                tail = self._usual_tail = self._make_tail(question)
        else:
            key = (question.contexts, question.max_pdu_bytes, question.user_items)
            known = self._tails.get(key)
            tail = known if known is not None else self._tails.setdefault(key, self._make_tail(question))
        return b"".join(
            (
                struct.pack(">BxIH2x", 1, 36 + len(tail), 1),
                encode_ae_title(question.called),
                self._calling_field(question.calling),
                tail,
            )
        )

    def _make_tail(self, question: Question) -> bytes:
        """All behind the titles: 32 reserved bytes and the items (PS3.8 9.3.2)."""
        return bytes(32) + make_associate_rq(question).encode_items()

    def _calling_field(self, calling: str) -> bytes:
        field = self._callings.get(calling)
        if field is None:
            field = self._callings[calling] = encode_ae_title(calling)
        return field

    def echo_bytes(self, message_id: int) -> bytes:
        data = self._echoes.get(message_id)
        if data is None:
            command = make_command_pdu(ECHO_CONTEXT_ID, EchoRQ(message_id))
            data = self._echoes[message_id] = command.encode()
        return data

    def decode(self, whole: bytes) -> Pdu:
        """`decode_pdu` that remembers: devices of one make answer with the same bytes."""
        if whole[0] == 0x02 and len(whole) >= 42:
            # PS3.8 9.3.3: the titles of an accept are reserved and not tested, and all that differs.
            whole = whole[:10] + _BLANK_TITLES + whole[42:]
        pdu = self._answers.get(whole)
        if pdu is None:
            pdu = self._decode(whole)
            if len(whole) <= _REMEMBERED_PDU_BYTES and len(self._answers) < _REMEMBERED:
                self._answers[whole] = pdu
        return pdu

    def decode_command(self, data: bytes) -> Command:
        """`decode_command` that remembers."""
        command = self._commands.get(data)
        if command is None:
            command = decode_command(data)
            if len(data) <= _REMEMBERED_PDU_BYTES and len(self._commands) < _REMEMBERED:
                self._commands[data] = command
        return command
