"""PDUs and items: captured bytes, round trips, mutations, and pynetdicom as a second opinion."""

import contextlib

import pynetdicom.pdu
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.dicom.errors import (
    AbortReason,
    InvalidValueError,
    PduTooLongError,
    PeerError,
    UnrecognizedPduError,
)
from fleet.dicom.items import (
    AsynchronousOperationsWindow,
    ImplementationClassUID,
    ImplementationVersionName,
    MaximumLength,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UnknownItem,
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
    UserItem,
)
from fleet.dicom.pdu import (
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    DataTF,
    Pdu,
    PduReader,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
    decode_pdu,
)
from tests.dicom import samples

DCMTK_INFORMATION = UserInformation(
    (
        MaximumLength(16384),
        ImplementationClassUID("1.2.276.0.7230010.3.0.3.6.7"),
        ImplementationVersionName("OFFIS_DCMTK_367"),
    )
)
ALL_USER_ITEMS = UserInformation(
    (
        MaximumLength(0),
        ImplementationClassUID("1.2.3"),
        AsynchronousOperationsWindow(5, 0),
        RoleSelection("1.2.840.10008.5.1.4.1.1.2", 0, 1),
        ImplementationVersionName("\x1b[2J<script>"),
        SOPClassExtendedNegotiation("1.2.3.4", b"\x01\x00"),
        SOPClassCommonExtendedNegotiation("1.2.3", "1.2.840.10008.4.2", ("1.2.5", "1.2.6")),
        UserIdentityRQ(2, response_requested=True, primary=b"user", secondary=b"secret"),
        UnknownItem(0x6F, b"???"),
    )
)
CASES: list[tuple[bytes, Pdu]] = [
    (
        samples.DCMTK_RQ,
        AssociateRQ(
            "STORE",
            "CALLER",
            (PresentationContextRQ(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),),
            DCMTK_INFORMATION,
        ),
    ),
    (
        samples.DCMTK_AC,
        AssociateAC(
            (PresentationContextAC(1, 0, "1.2.840.10008.1.2"),),
            DCMTK_INFORMATION,
            reserved_titles=b"STORE".ljust(16) + b"CALLER".ljust(16),
        ),
    ),
    (
        samples.DCMTK_ECHO_RQ,
        DataTF((PresentationDataValue(1, samples.DCMTK_ECHO_RQ[12:], is_command=True, is_last=True),)),
    ),
    (samples.RELEASE_RQ, ReleaseRQ()),
    (samples.RELEASE_RP, ReleaseRP()),
    (bytes.fromhex("03000000000400010107"), AssociateRJ(1, 1, 7)),
    (bytes.fromhex("030000000004000909ff"), AssociateRJ(9, 9, 255)),
    (bytes.fromhex("07000000000400000201"), Abort(2, 1)),
]


@pytest.mark.parametrize(("data", "meaning"), CASES)
def test_captured_bytes_mean_what_was_captured(data: bytes, meaning: Pdu) -> None:
    assert decode_pdu(data) == meaning
    assert decode_pdu(meaning.encode()) == meaning


@pytest.mark.parametrize(("data", "meaning"), CASES)
@pytest.mark.parametrize("step", [1, 3, 10_000])
@pytest.mark.parametrize("tail", [b"", b"\x05\x00"])
def test_a_pdu_is_read_whole_byte_by_byte_and_with_a_tail(data: bytes, meaning: Pdu, step: int, tail: bytes) -> None:
    reader = PduReader(16384)
    found = []
    stream = data + tail
    for at in range(0, len(stream), step):
        reader.feed(stream[at : at + step])
        while (whole := reader.next_pdu()) is not None:
            found.append(decode_pdu(whole))
    assert found == [meaning]
    assert reader.unread == tail


def test_every_user_item_survives_the_wire() -> None:
    request = AssociateRQ("A", "B", (), ALL_USER_ITEMS, unknown_items=(UnknownItem(0x77, b"x"),))
    assert decode_pdu(request.encode()) == request
    answer = AssociateAC((), UserInformation((UserIdentityAC(b"ticket"),)))
    assert decode_pdu(answer.encode()) == answer


def test_a_password_stays_out_of_the_repr() -> None:  # T39
    assert "secret" not in repr(ALL_USER_ITEMS)


@pytest.mark.parametrize("pdu_type", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("length", [65_537, 0xFFFFFFFF])
def test_a_declared_length_beyond_the_bound_is_refused_from_the_header(pdu_type: int, length: int) -> None:  # T50
    reader = PduReader(16384)
    reader.feed(bytes([pdu_type, 0]) + length.to_bytes(4, "big"))
    with pytest.raises(PduTooLongError) as caught:
        reader.next_pdu()
    assert caught.value.reason is AbortReason.INVALID_PARAMETER_VALUE
    assert caught.value.declared_bytes == length


def test_data_is_bounded_by_the_length_that_we_announced() -> None:
    reader = PduReader(100)
    reader.feed(bytes.fromhex("040000000065"))
    with pytest.raises(PduTooLongError):
        reader.next_pdu()


@pytest.mark.parametrize("head", [b"H", b"HTTP/1.1 400", b"SSH-2.0-x", b"\x00\x00", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_a_first_byte_that_is_no_type_is_told_at_once(head: bytes) -> None:
    reader = PduReader(100)
    reader.feed(head)
    with pytest.raises(UnrecognizedPduError) as caught:
        reader.next_pdu()
    assert caught.value.reason is AbortReason.UNRECOGNIZED_PDU
    assert caught.value.head == head


@pytest.mark.parametrize(
    "data",
    [
        "03000000000300010107"[:18],  # a rejection one byte short
        "050000000000",
        "07000000000500000201ff",
        "040000000000",  # no presentation data value
        "040000000004ffffffff",
        "0400000000060000000101ff",  # a value shorter than its own header
        "04000000000700000009010300",  # a value that leads outside
        "010000000000",
        "0100000000440001" + "00" * 65,
        "0200000000480001" + "00" * 66 + "10000005",  # an item that leads outside
        "0200000000470001" + "00" * 66 + "100000",  # an item cut off in its header
        "02000000004c0001" + "00" * 66 + "2100000401000000",  # accepted without a transfer syntax
        "02000000004a0001" + "00" * 66 + "210000020100",  # a context cut off
        "0200000000500001" + "00" * 66 + "1000000010000000" + "50000000",  # an item twice
        "02000000004f0001" + "00" * 66 + "5000000751000003000000",  # a maximum length of three bytes
    ],
)
def test_bytes_that_contradict_themselves_give_a_typed_error(data: str) -> None:
    with pytest.raises(PeerError) as caught:
        decode_pdu(bytes.fromhex(data))
    assert caught.value.reason in AbortReason
    assert caught.value.source == 2


def test_the_transfer_syntax_of_a_refused_context_is_not_looked_at() -> None:
    whole = AssociateAC((PresentationContextAC(1, 3),)).encode()
    assert decode_pdu(whole) == AssociateAC((PresentationContextAC(1, 3),))


def test_blank_and_nul_terminated_titles_are_survived() -> None:
    data = bytearray(samples.DCMTK_RQ)
    data[10:26] = b"STORE\0\0\0\0\0\0\0\0\0\0\0"
    data[26:42] = b" " * 16
    request = decode_pdu(bytes(data))
    assert isinstance(request, AssociateRQ)
    assert (request.called, request.calling) == ("STORE", "")


def _decode_or_none(whole: bytes) -> Pdu | None:
    try:
        return decode_pdu(whole)
    except PeerError:
        return None


uids = st.from_regex(r"[0-9]{1,5}(\.[0-9]{1,5}){0,6}", fullmatch=True)
titles = st.from_regex(r"[!-\[\]-~]{1,16}", fullmatch=True)
small = st.binary(max_size=40)
user_items: st.SearchStrategy[UserItem] = st.one_of(
    st.builds(MaximumLength, st.integers(0, 2**32 - 1)),
    st.builds(ImplementationClassUID, uids),
    st.builds(AsynchronousOperationsWindow, st.integers(0, 65535), st.integers(0, 65535)),
    st.builds(RoleSelection, uids, st.integers(0, 1), st.integers(0, 1)),
    st.builds(ImplementationVersionName, st.text(st.characters(max_codepoint=255), max_size=16)),
    st.builds(SOPClassExtendedNegotiation, uids, small),
    st.builds(SOPClassCommonExtendedNegotiation, uids, uids, st.lists(uids, max_size=3).map(tuple)),
    st.builds(UserIdentityRQ, st.integers(0, 255), st.booleans(), small, small),
    st.builds(UserIdentityAC, small),
    st.builds(UnknownItem, st.sampled_from([0x00, 0x5A, 0x60, 0xFF]), small),
)
information = st.builds(UserInformation, st.lists(user_items, max_size=6).map(tuple))
contexts_rq = st.builds(
    PresentationContextRQ, st.integers(1, 255), uids, st.lists(uids, min_size=1, max_size=4).map(tuple)
)
contexts_ac = st.one_of(
    st.builds(PresentationContextAC, st.integers(1, 255), st.just(0), uids),
    st.builds(PresentationContextAC, st.integers(1, 255), st.integers(1, 255)),
)
unknown = st.lists(st.builds(UnknownItem, st.sampled_from([0x11, 0x51, 0xEE]), small), max_size=2).map(tuple)
values = st.builds(PresentationDataValue, st.integers(0, 255), small, st.booleans(), st.booleans())
bytes_of_one = st.integers(0, 255)
pdus: st.SearchStrategy[Pdu] = st.one_of(
    st.builds(
        AssociateRQ, titles, titles, st.lists(contexts_rq, max_size=4).map(tuple), information, unknown_items=unknown
    ),
    st.builds(
        AssociateAC,
        st.lists(contexts_ac, max_size=4).map(tuple),
        information,
        reserved_titles=st.binary(min_size=32, max_size=32),
        unknown_items=unknown,
    ),
    st.builds(AssociateRJ, bytes_of_one, bytes_of_one, bytes_of_one),
    st.builds(DataTF, st.lists(values, min_size=1, max_size=4).map(tuple)),
    st.builds(ReleaseRQ),
    st.builds(ReleaseRP),
    st.builds(Abort, bytes_of_one, bytes_of_one),
)


@given(pdus)
@settings(max_examples=150, deadline=None)
def test_what_is_encoded_is_decoded_again(pdu: Pdu) -> None:
    assert decode_pdu(pdu.encode()) == pdu


@given(pdus, st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_bytes_give_a_value_or_a_typed_error(pdu: Pdu, data: st.DataObject) -> None:
    mutated = bytearray(pdu.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(bytes_of_one)
    cut = data.draw(st.integers(0, len(mutated)))
    reader = PduReader(65_536)
    reader.feed(bytes(mutated[:cut]))
    with contextlib.suppress(PeerError):
        while (whole := reader.next_pdu()) is not None:
            decode_pdu(whole)
    assert len(reader.unread) <= cut


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_garbage_with_a_good_header_gives_a_value_or_a_typed_error(body: bytes) -> None:
    for pdu_type in range(1, 8):
        whole = bytes([pdu_type, 0]) + len(body).to_bytes(4, "big") + body
        assert _decode_or_none(whole) is None or whole[0] in range(1, 8)


@given(pdus.filter(lambda pdu: isinstance(pdu, AssociateRJ | DataTF | ReleaseRQ | ReleaseRP)))
@settings(max_examples=60, deadline=None)
def test_pynetdicom_reads_what_we_write(pdu: Pdu) -> None:
    theirs = {
        AssociateRJ: pynetdicom.pdu.A_ASSOCIATE_RJ,
        DataTF: pynetdicom.pdu.P_DATA_TF,
        ReleaseRQ: pynetdicom.pdu.A_RELEASE_RQ,
        ReleaseRP: pynetdicom.pdu.A_RELEASE_RP,
    }[type(pdu)]()
    theirs.decode(pdu.encode())
    assert theirs.encode() == pdu.encode()


@pytest.mark.parametrize("data", [samples.DCMTK_RQ, samples.DCMTK_AC])
def test_pynetdicom_and_we_see_the_same_in_an_association_pdu(data: bytes) -> None:
    ours = decode_pdu(data)
    assert isinstance(ours, AssociateRQ | AssociateAC)
    theirs = (pynetdicom.pdu.A_ASSOCIATE_RQ if data[0] == 1 else pynetdicom.pdu.A_ASSOCIATE_AC)()
    theirs.decode(ours.encode())
    assert theirs.user_information.maximum_length == ours.user_information.max_pdu_bytes
    assert str(theirs.user_information.implementation_class_uid) == ours.user_information.implementation_class_uid
    assert [c.context_id for c in theirs.presentation_context] == [c.context_id for c in ours.presentation_contexts]


def test_a_pdu_whose_length_is_not_its_own_is_refused() -> None:
    with pytest.raises(InvalidValueError):
        decode_pdu(samples.RELEASE_RQ + b"\0")
