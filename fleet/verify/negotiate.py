"""Stricter questions than C-ECHO: who is let in, who answers, what would be accepted.

Nothing is stored: contexts are negotiated and the association is released. One request stays below
16 KB and 128 contexts, since some peers crash on more; what does not fit is asked in further ones.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fleet.dicom.dimse import IMPLICIT_VR_LITTLE_ENDIAN_UID, VERIFICATION_UID
from fleet.dicom.items import PresentationContextAC, PresentationContextRQ
from fleet.dicom.pdu import AssociateAC
from fleet.verify.classify import describe_context_result, is_busy
from fleet.verify.dialogue import EchoDialogue
from fleet.verify.prepare import MAX_REQUEST_BYTES, Question
from fleet.verify.values import EchoTarget, Expectation, Outcome

UNKNOWN_CALLER = "FLEET_NOBODY"
_CONTEXTS_A_REQUEST = 100
_CONTEXT_BYTES_A_REQUEST = MAX_REQUEST_BYTES - 1024  # the titles and our own user information
_TURNED_AWAY = frozenset({Outcome.ASSOCIATION_REJECTED, Outcome.ASSOCIATION_ABORTED, Outcome.CONNECTION_LOST})

# PS3.6 table A-1, by keyword.
TRANSFER_SYNTAXES = {
    "ImplicitVRLittleEndian": "1.2.840.10008.1.2",
    "ExplicitVRLittleEndian": "1.2.840.10008.1.2.1",
    "DeflatedExplicitVRLittleEndian": "1.2.840.10008.1.2.1.99",
    "ExplicitVRBigEndian": "1.2.840.10008.1.2.2",
    "JPEGBaseline8Bit": "1.2.840.10008.1.2.4.50",
    "JPEGExtended12Bit": "1.2.840.10008.1.2.4.51",
    "JPEGLossless": "1.2.840.10008.1.2.4.57",
    "JPEGLosslessSV1": "1.2.840.10008.1.2.4.70",
    "JPEGLSLossless": "1.2.840.10008.1.2.4.80",
    "JPEGLSNearLossless": "1.2.840.10008.1.2.4.81",
    "JPEG2000Lossless": "1.2.840.10008.1.2.4.90",
    "JPEG2000": "1.2.840.10008.1.2.4.91",
    "JPEG2000MCLossless": "1.2.840.10008.1.2.4.92",
    "JPEG2000MC": "1.2.840.10008.1.2.4.93",
    "JPIPReferenced": "1.2.840.10008.1.2.4.94",
    "JPIPReferencedDeflate": "1.2.840.10008.1.2.4.95",
    "MPEG2MPML": "1.2.840.10008.1.2.4.100",
    "MPEG2MPMLF": "1.2.840.10008.1.2.4.100.1",
    "MPEG2MPHL": "1.2.840.10008.1.2.4.101",
    "MPEG2MPHLF": "1.2.840.10008.1.2.4.101.1",
    "MPEG4HP41": "1.2.840.10008.1.2.4.102",
    "MPEG4HP41F": "1.2.840.10008.1.2.4.102.1",
    "MPEG4HP41BD": "1.2.840.10008.1.2.4.103",
    "MPEG4HP41BDF": "1.2.840.10008.1.2.4.103.1",
    "MPEG4HP422D": "1.2.840.10008.1.2.4.104",
    "MPEG4HP422DF": "1.2.840.10008.1.2.4.104.1",
    "MPEG4HP423D": "1.2.840.10008.1.2.4.105",
    "MPEG4HP423DF": "1.2.840.10008.1.2.4.105.1",
    "MPEG4HP42STEREO": "1.2.840.10008.1.2.4.106",
    "MPEG4HP42STEREOF": "1.2.840.10008.1.2.4.106.1",
    "HEVCMP51": "1.2.840.10008.1.2.4.107",
    "HEVCM10P51": "1.2.840.10008.1.2.4.108",
    "HTJ2KLossless": "1.2.840.10008.1.2.4.201",
    "HTJ2KLosslessRPCL": "1.2.840.10008.1.2.4.202",
    "HTJ2K": "1.2.840.10008.1.2.4.203",
    "RLELossless": "1.2.840.10008.1.2.5",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation. Without a question of its own it judges the C-ECHO's dialogue."""

    question: Question | None
    judge: Callable[[EchoDialogue], str | None]


def make_checks(target: EchoTarget) -> tuple[Check, ...]:
    """Turn a target's expectation into checks; ValueError names a SOP class or syntax nobody knows."""
    expect = target.expect
    if expect is None:
        return ()
    checks = []
    if expect.implementation_class_uid is not None or expect.implementation_version is not None:
        checks.append(Check(None, lambda dialogue: _judge_identity(expect, dialogue)))
    if expect.rejects_wrong_called_title:
        wrong = Question(_wrong_title(target.ae_title), target.calling, echoes=0)
        checks.append(Check(wrong, lambda dialogue: _judge_turned_away(dialogue, f"to the title {wrong.called}")))
    if expect.rejects_unknown_callers:
        stranger = Question(target.ae_title, UNKNOWN_CALLER, echoes=0)
        checks.append(Check(stranger, lambda dialogue: _judge_turned_away(dialogue, f"from {UNKNOWN_CALLER}")))
    checks.extend(_make_context_check(target, pairs) for pairs in _portions(list(_context_pairs(expect))))
    return tuple(checks)


def find_sop_class_uid(name: str) -> str:
    """Return the UID for a SOP class given as UID or keyword."""
    if _is_uid(name):
        return name
    if name in ("Verification", "VerificationSOPClass"):
        return VERIFICATION_UID
    import pynetdicom.sop_class

    uid = getattr(pynetdicom.sop_class, name, None)
    if not isinstance(uid, str) or not _is_uid(uid):
        raise ValueError(f"{name!r} is neither a UID nor the keyword of a SOP class")
    return str(uid)


def find_transfer_syntax_uid(name: str) -> str:
    """Return the UID for a transfer syntax given as UID or keyword."""
    uid = name if _is_uid(name) else TRANSFER_SYNTAXES.get(name)
    if uid is None:
        raise ValueError(f"{name!r} is neither a UID nor the keyword of a transfer syntax")
    return uid


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= 64 and text.replace(".", "").isdigit() and text.isascii()


def _wrong_title(title: str) -> str:
    """A legal title that is certainly not *title*."""
    wrong = f"NOT_{title}"[:16]
    return wrong if wrong != title else "NOT_THIS_TITLE"


def _judge_identity(expect: Expectation, dialogue: EchoDialogue) -> str | None:
    """Another implementation at the right address is very likely another device (or an update)."""
    accept = dialogue.accept
    if accept is None:
        return "the peer's implementation is not known: it has accepted no association"
    told = accept.user_information
    pairs = (
        ("implementation class UID", told.implementation_class_uid, expect.implementation_class_uid),
        ("implementation version", told.implementation_version, expect.implementation_version),
    )
    wrong = [
        f"its {what} is {is_now!r} instead of {expected!r}"
        for what, is_now, expected in pairs
        if expected is not None and is_now != expected
    ]
    if not wrong:
        return None
    return f"another device or version answers there: {' and '.join(wrong)}"


def _judge_turned_away(dialogue: EchoDialogue, which: str) -> str | None:
    if dialogue.accept is not None:
        return f"an association {which} was accepted, so the peer does not check it"
    rejection = dialogue.rejection
    if dialogue.outcome in _TURNED_AWAY and (rejection is None or not is_busy(rejection)):
        return None
    return f"whether an association {which} is rejected could not be found out: {dialogue.detail}"


def _context_pairs(expect: Expectation) -> Iterator[tuple[str, str, str]]:
    """Every class with every syntax, as (words, abstract syntax, transfer syntax)."""
    if not expect.sop_classes and not expect.transfer_syntaxes:
        return
    for sop_class in expect.sop_classes or ("Verification",):
        for syntax in expect.transfer_syntaxes or ("ImplicitVRLittleEndian",):
            words = f"{sop_class} with {syntax}"
            yield words, find_sop_class_uid(sop_class), find_transfer_syntax_uid(syntax)


def _portions(pairs: list[tuple[str, str, str]]) -> Iterator[list[tuple[str, str, str]]]:
    portion: list[tuple[str, str, str]] = []
    size = 0
    for pair in pairs:
        cost = 16 + len(pair[1]) + len(pair[2])
        if portion and (len(portion) >= _CONTEXTS_A_REQUEST or size + cost > _CONTEXT_BYTES_A_REQUEST):
            yield portion
            portion, size = [], 0
        portion.append(pair)
        size += cost
    if portion:
        yield portion


def _make_context_check(target: EchoTarget, pairs: list[tuple[str, str, str]]) -> Check:
    contexts = tuple(
        PresentationContextRQ(2 * number + 1, abstract, (syntax,)) for number, (_, abstract, syntax) in enumerate(pairs)
    )
    words = {context.context_id: (pair[0], pair[2]) for context, pair in zip(contexts, pairs, strict=True)}
    question = Question(target.ae_title, target.calling, contexts, echoes=0)
    return Check(question, lambda dialogue: _judge_contexts(dialogue, words))


def _judge_contexts(dialogue: EchoDialogue, words: dict[int, tuple[str, str]]) -> str | None:
    """`words` are what each context asked for, and the one transfer syntax that it proposed."""
    if dialogue.accept is None:
        return f"what it accepts could not be found out: {dialogue.detail}"
    answers = {context.context_id: context for context in dialogue.accept.presentation_contexts}
    refused = [
        f"{what} ({why})"
        for context_id, (what, syntax) in words.items()
        if (why := _why_unaccepted(answers.get(context_id), syntax))
    ]
    return f"not accepted: {', '.join(refused)}" if refused else None


def _why_unaccepted(answer: PresentationContextAC | None, syntax: str) -> str | None:
    if answer is None:
        return "not answered"
    if answer.result != 0:
        return describe_context_result(answer.result)
    return None if answer.transfer_syntax == syntax else f"but with {answer.transfer_syntax!a}, which was not proposed"


def name_unproposed(accept: AssociateAC, contexts: Sequence[PresentationContextRQ]) -> tuple[str, ...]:
    """A warning where the peer accepted with a transfer syntax that it had not to choose from (PS3.8 9.3.3.2)."""
    proposed = {context.context_id: context.transfer_syntaxes for context in contexts}
    foreign = [
        f"{context.transfer_syntax!a} in presentation context {context.context_id}"
        for context in accept.presentation_contexts
        if context.result == 0
        and context.transfer_syntax not in proposed.get(context.context_id, (context.transfer_syntax,))
    ]
    if not foreign:
        return ()
    more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
    text = (
        f"it accepted with a transfer syntax that was not proposed (PS3.8 9.3.3.2): {', '.join(foreign[:3])}{more};"
        " what it sends to others may not be readable there; its vendor has to mend it"
    )
    return (text,)


def make_echo_contexts(contexts: int, transfer_syntaxes: int) -> tuple[PresentationContextRQ, ...]:
    """So many contexts for Verification, each with so many transfer syntaxes, the default one first."""
    syntaxes = (IMPLICIT_VR_LITTLE_ENDIAN_UID, *list(TRANSFER_SYNTAXES.values())[1:])[:transfer_syntaxes]
    return tuple(PresentationContextRQ(2 * number + 1, VERIFICATION_UID, syntaxes) for number in range(contexts))
