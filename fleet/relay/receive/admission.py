"""Who may open an association, from where, and for what (T70).

A title alone proves nothing, so a caller is known by its title and its source address together; a caller whose
address is not known (DHCP without a name) is not taken, as the contract of the file says.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fleet.dicom.commitment import COMMITMENT_UID, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from fleet.dicom.dimse import VERIFICATION_UID
from fleet.dicom.items import (
    APPLICATION_CONTEXT_UID,
    ImplementationClassUID,
    ImplementationVersionName,
    MaximumLength,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    UserInformation,
)
from fleet.dicom.pdu import AssociateAC, AssociateRJ, AssociateRQ
from fleet.relay.implementation import IMPLEMENTATION_NAME, IMPLEMENTATION_UID
from fleet.relay.values import Caller, Config, Destination

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+", re.ASCII)
_STANDARD: Final = "1.2.840.10008."
# PS3.4 B.5: the storage classes stand below this root, and two of radiotherapy apart from it.
_STORAGE: Final = ("1.2.840.10008.5.1.4.1.1.",)
_STORAGE_ALONE: Final = frozenset(("1.2.840.10008.5.1.4.34.7", "1.2.840.10008.5.1.4.34.10"))
_TRANSFER: Final = re.compile(r"1\.2\.840\.10008\.1\.2(\.[0-9]+)*", re.ASCII)

# PS3.8 table 9-21: result, source, reason.
BAD_CONTEXT: Final = AssociateRJ(1, 1, 2)
UNKNOWN_CALLING: Final = AssociateRJ(1, 1, 3)
UNKNOWN_CALLED: Final = AssociateRJ(1, 1, 7)
BUSY: Final = AssociateRJ(2, 3, 1)
TOO_MANY: Final = AssociateRJ(2, 3, 2)


def is_uid(text: str) -> bool:
    """Whether a text is a UID at all (PS3.5 9.1); its leading zeros are the sender's affair."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def is_storage(uid: str) -> bool:
    """Whether an abstract syntax is one of storage; a private one can be nothing else here.

    What is no UID is none of them, whatever it begins with: it becomes part of a file's meta information (T67).
    """
    return is_uid(uid) and (uid.startswith(_STORAGE) or uid in _STORAGE_ALONE or not uid.startswith(_STANDARD))


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """An association that is taken: what to answer, and what may be done in it."""

    answer: AssociateAC
    contexts: Mapping[int, Context]


@dataclass(frozen=True, slots=True)
class Door:
    """The callers with their names resolved to addresses; made again when the configuration changes."""

    titles: frozenset[str]
    callers: tuple[tuple[Caller, frozenset[str]], ...]
    max_pdu_bytes: int
    reporters: tuple[tuple[Destination, frozenset[str]], ...] = ()  # destinations that report what they commit to

    @property
    def addresses(self) -> frozenset[str]:
        """Every address that any caller comes from."""
        return frozenset().union(*(found for _, found in (*self.callers, *self.reporters)))

    def judge(self, request: AssociateRQ, address: str) -> Admitted | AssociateRJ:
        """Admit, or say why not in the standard's numbers."""
        if request.application_context != APPLICATION_CONTEXT_UID:
            return BAD_CONTEXT
        reporters = [to for to, found in self.reporters if to.ae_title == request.calling and address in found]
        if request.called not in self.titles.union(to.calling for to in reporters):
            return UNKNOWN_CALLED
        known = [caller for caller, found in self.callers if caller.ae_title == request.calling and address in found]
        if not known and not reporters:
            return UNKNOWN_CALLING
        may_store = any(caller.role == "entity" and "storage" in caller.services for caller in known)
        answers = [_answer(context, may_store, bool(reporters)) for context in request.presentation_contexts[:128]]
        contexts = {
            answer.context_id: Context(asked.abstract_syntax, answer.transfer_syntax)
            for asked, answer in zip(request.presentation_contexts, answers, strict=False)
            if answer.result == 0
        }
        about = UserInformation(
            (
                MaximumLength(self.max_pdu_bytes),
                ImplementationClassUID(IMPLEMENTATION_UID),
                ImplementationVersionName(IMPLEMENTATION_NAME),
                *(_answer_role(item) for item in request.user_information.items if isinstance(item, RoleSelection)),
            )
        )
        return Admitted(AssociateAC(tuple(answers), about), contexts)


def _answer_role(asked: RoleSelection) -> RoleSelection:
    """PS3.7 D.3.3.4: who reports what it commits to acts as the SCP though it asked for the association."""
    is_commitment = asked.sop_class_uid == COMMITMENT_UID
    return RoleSelection(asked.sop_class_uid, 0 if is_commitment else asked.scu, asked.scp if is_commitment else 0)


def _answer(context: PresentationContextRQ, may_store: bool, may_report: bool) -> PresentationContextAC:
    """Results of PS3.8 table 9-18; the first transfer syntax proposed is taken: nothing is re-encoded."""
    abstract = context.abstract_syntax
    if abstract == COMMITMENT_UID and may_report:
        plain = next((each for each in context.transfer_syntaxes if each in {IMPLICIT_LITTLE, EXPLICIT_LITTLE}), None)
        if plain is None or not context.context_id & 1:
            return PresentationContextAC(context.context_id, 4, IMPLICIT_LITTLE)
        return PresentationContextAC(context.context_id, 0, plain)
    if abstract != VERIFICATION_UID and not (may_store and is_storage(abstract)):
        return PresentationContextAC(context.context_id, 3, "1.2.840.10008.1.2")
    transfer = next((each for each in context.transfer_syntaxes if _TRANSFER.fullmatch(each)), None)
    if transfer is None or not context.context_id & 1:
        return PresentationContextAC(context.context_id, 4, "1.2.840.10008.1.2")
    return PresentationContextAC(context.context_id, 0, transfer)


def make_door(config: Config, resolved: Mapping[str, frozenset[str]]) -> Door:
    """The door of a configuration, given the addresses that its names resolve to."""
    callers = tuple(
        (caller, frozenset[str]().union(*(resolved.get(name, frozenset()) for name in caller.addresses)))
        for caller in config.callers
    )
    reporters = tuple(
        (to, frozenset[str]().union(*(resolved.get(place.address, frozenset()) for place in to.addresses)))
        for to in config.destinations.values()
        if to.commitment
    )
    return Door(frozenset((config.ae_title, *config.further_titles)), callers, config.max_pdu_bytes, reporters)
