"""Requests as bytes, encoded once and used for every target that is asked the same.

Only the two titles differ from target to target, and they stand at a fixed place (PS3.8 table 9-11), so
a request is a head, two fields and a tail. All echo requests share one P-DATA-TF for each message.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

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
REMEMBERED_PDU_BYTES = 1024


class Question(NamedTuple):
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


def _make_ends(question: Question) -> tuple[bytes, bytes]:
    """What stands before and behind the titles of an A-ASSOCIATE-RQ: header, reserved bytes, items (PS3.8 9.3.2)."""
    tail = bytes(32) + make_associate_rq(question).encode_items()
    return struct.pack(">BxIH2x", 1, 36 + len(tail), 1), tail


def _without_titles(accept: bytes) -> bytes:
    """PS3.8 9.3.3: the titles of an accept are reserved and not tested, and all that differs between devices."""
    return accept[:10] + _BLANK_TITLES + accept[42:] if len(accept) >= 42 else accept


class Preparer:
    """Encodes requests and decodes answers, remembering what repeats. One lives as long as one sweep."""

    def __init__(self, decode: Callable[[bytes], Pdu] = decode_pdu) -> None:
        self._callings: dict[str, bytes] = {}
        self._usual_ends: tuple[bytes, bytes] | None = None
        self._ends: dict[tuple[object, ...], tuple[bytes, bytes]] = {}
        self._echoes: dict[int, bytes] = {}
        self._answers: dict[bytes, Pdu] = {}
        self._commands: dict[bytes, Command] = {}
        self._decode = decode

    def associate_bytes(self, question: Question) -> bytes:
        called, calling, contexts, _, _, max_pdu_bytes, user_items = question
        if contexts is _USUAL_CONTEXTS and max_pdu_bytes == MAX_PDU_BYTES and not user_items:
            ends = self._usual_ends  # no contexts have to be hashed for what nearly everybody is asked
            if ends is None:
                ends = self._usual_ends = _make_ends(question)
        else:
            key = (contexts, max_pdu_bytes, user_items)
            ends = self._ends.get(key)
            if ends is None:
                ends = self._ends[key] = _make_ends(question)
        field = self._callings.get(calling)
        if field is None:
            field = self._callings[calling] = encode_ae_title(calling)
        return b"".join((ends[0], encode_ae_title(called), field, ends[1]))

    def echo_bytes(self, message_id: int) -> bytes:
        data = self._echoes.get(message_id)
        if data is None:
            command = make_command_pdu(ECHO_CONTEXT_ID, EchoRQ(message_id))
            data = self._echoes[message_id] = command.encode()
        return data

    def recall(self, segment: bytes) -> Pdu | None:
        """Return what `decode` made of these very bytes; None where it has not met them, or they are too many."""
        return self._answers.get(_without_titles(segment) if segment[:1] == b"\x02" else segment)

    def decode(self, whole: bytes) -> Pdu:
        """`decode_pdu` that remembers: devices of one make answer with the same bytes."""
        if whole[0] == 0x02:
            whole = _without_titles(whole)
        pdu = self._answers.get(whole)
        if pdu is None:
            pdu = self._decode(whole)
            if len(whole) <= REMEMBERED_PDU_BYTES and len(self._answers) < _REMEMBERED:
                self._answers[whole] = pdu
        return pdu

    def decode_command(self, data: bytes) -> Command:
        """`decode_command` that remembers."""
        command = self._commands.get(data)
        if command is None:
            command = decode_command(data)
            if len(data) <= REMEMBERED_PDU_BYTES and len(self._commands) < _REMEMBERED:
                self._commands[data] = command
        return command
