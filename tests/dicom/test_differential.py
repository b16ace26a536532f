"""pynetdicom as a second opinion, both ways: what we write it reads and would write, what it writes we read.

Values are generated, legal ones only: on broken bytes the two may well differ.
"""

from typing import Any

import pynetdicom.pdu
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_ECHO_RSP
from pynetdicom.dimse_primitives import C_ECHO

from fleet.dicom.dimse import CommandAssembler, EchoRQ, EchoRSP
from fleet.dicom.items import (
    AsynchronousOperationsWindow,
    ImplementationClassUID,
    ImplementationVersionName,
    MaximumLength,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    SOPClassExtendedNegotiation,
    UserIdentityRQ,
    UserInformation,
)
from fleet.dicom.pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    DataTF,
    Pdu,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
    decode_pdu,
)

THEIRS: dict[type[Pdu], Any] = {
    AssociateRQ: pynetdicom.pdu.A_ASSOCIATE_RQ,
    AssociateAC: pynetdicom.pdu.A_ASSOCIATE_AC,
    AssociateRJ: pynetdicom.pdu.A_ASSOCIATE_RJ,
    DataTF: pynetdicom.pdu.P_DATA_TF,
    ReleaseRQ: pynetdicom.pdu.A_RELEASE_RQ,
    ReleaseRP: pynetdicom.pdu.A_RELEASE_RP,
    Abort: pynetdicom.pdu.A_ABORT_RQ,
}
components = st.integers(1, 99_999).map(str)
uids = st.lists(components, min_size=2, max_size=9).map(lambda parts: "1.2." + ".".join(parts))
titles = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=16)
names = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.", min_size=1, max_size=16)
ids = st.integers(0, 127).map(lambda number: 2 * number + 1)
flags = st.integers(0, 1)
user_items = st.tuples(
    st.builds(MaximumLength, st.integers(0, 2**32 - 1)),
    st.builds(ImplementationClassUID, uids),
    st.one_of(
        st.builds(AsynchronousOperationsWindow, st.integers(0, 65535), st.integers(0, 65535)),
        st.builds(RoleSelection, uids, flags, flags),
        st.builds(SOPClassExtendedNegotiation, uids, st.binary(min_size=1, max_size=8)),
        st.builds(UserIdentityRQ, st.just(1), st.booleans(), st.binary(min_size=1, max_size=20)),
    ),
    st.builds(ImplementationVersionName, names),
).map(UserInformation)
requests = st.builds(
    AssociateRQ,
    titles,
    titles,
    st.lists(
        st.builds(PresentationContextRQ, ids, uids, st.lists(uids, min_size=1, max_size=4).map(tuple)),
        min_size=1,
        max_size=6,
    ).map(tuple),
    user_items,
)
accepts = st.builds(
    AssociateAC,
    st.lists(st.builds(PresentationContextAC, ids, st.just(0), uids), min_size=1, max_size=6).map(tuple),
    user_items,
    reserved_titles=st.tuples(titles, titles).map(lambda two: b"".join(title.encode().ljust(16) for title in two)),
)
values = st.builds(PresentationDataValue, ids, st.binary(max_size=200), st.booleans(), st.booleans())
others = st.one_of(
    st.builds(AssociateRJ, st.integers(1, 2), st.just(1), st.sampled_from((1, 2, 3, 7))),
    st.builds(DataTF, st.lists(values, min_size=1, max_size=4).map(tuple)),
    st.just(ReleaseRQ()),
    st.just(ReleaseRP()),
    st.builds(Abort, st.sampled_from((0, 2)), st.sampled_from((0, 1, 2, 4, 5, 6))),
)


@given(st.one_of(requests, accepts, others))
@settings(max_examples=400, deadline=None)
def test_what_we_write_pynetdicom_reads_and_writes_byte_by_byte(pdu: Pdu) -> None:
    theirs = THEIRS[type(pdu)]()
    theirs.decode(pdu.encode())
    assert theirs.encode() == pdu.encode()
    assert decode_pdu(theirs.encode()) == pdu


@given(requests)
@settings(max_examples=150, deadline=None)
def test_both_find_the_same_in_a_request(request: AssociateRQ) -> None:
    theirs = pynetdicom.pdu.A_ASSOCIATE_RQ()
    theirs.decode(request.encode())
    assert str(theirs.called_ae_title).strip() == request.called
    assert str(theirs.calling_ae_title).strip() == request.calling
    found = [(each.context_id, str(each.abstract_syntax)) for each in theirs.presentation_context]
    assert found == [(each.context_id, each.abstract_syntax) for each in request.presentation_contexts]
    told = theirs.user_information
    assert told.maximum_length == request.user_information.max_pdu_bytes
    assert str(told.implementation_class_uid) == request.user_information.implementation_class_uid


@given(st.integers(0, 65535))
@settings(max_examples=60, deadline=None)
def test_both_write_the_same_c_echo_request(message_id: int) -> None:
    primitive = C_ECHO()
    primitive.MessageID = message_id
    primitive.AffectedSOPClassUID = "1.2.840.10008.1.1"
    message = C_ECHO_RQ()
    message.primitive_to_message(primitive)
    assert _assemble(message) == EchoRQ(message_id)
    assert _fragments(message)[0][1:] == EchoRQ(message_id).encode()


@given(st.integers(0, 65535), st.sampled_from((0x0000, 0x0122, 0x0210, 0x0211, 0x0212)))
@settings(max_examples=60, deadline=None)
def test_both_write_the_same_c_echo_response(message_id: int, status: int) -> None:
    primitive = C_ECHO()
    primitive.MessageIDBeingRespondedTo = message_id
    primitive.AffectedSOPClassUID = "1.2.840.10008.1.1"
    primitive.Status = status
    message = C_ECHO_RSP()
    message.primitive_to_message(primitive)
    assert _assemble(message) == EchoRSP(message_id, status)


def _fragments(message: Any) -> list[bytes]:
    """Each with its control header in front (PS3.8 annex E.2)."""
    return [value for data in message.encode_msg(1, 16_384) for _, value in data.presentation_data_value_list]


def _assemble(message: Any) -> object:
    assembler = CommandAssembler()
    whole = None
    for fragment in _fragments(message):
        control = fragment[0]
        whole = assembler.add(PresentationDataValue(1, fragment[1:], bool(control & 1), bool(control & 2)))
    assert whole is not None
    return whole[1]
