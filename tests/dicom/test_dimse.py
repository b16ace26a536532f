"""C-ECHO command sets: the known-good bytes, fragments, and what must not be believed."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.dicom.association import make_command_pdu
from fleet.dicom.dimse import CommandAssembler, EchoRQ, EchoRSP, OtherCommand, decode_command
from fleet.dicom.errors import InvalidValueError
from fleet.dicom.pdu import PresentationDataValue
from tests.dicom import samples


def test_our_echo_request_is_the_known_good_one() -> None:
    assert make_command_pdu(1, EchoRQ(1)).encode() == samples.DCMTK_ECHO_RQ


def test_dcmtks_answer_is_a_success() -> None:
    assert decode_command(samples.DCMTK_ECHO_RSP[12:]) == EchoRSP(1, 0x0000)
    assert make_command_pdu(1, EchoRSP(1, 0)).encode() == samples.DCMTK_ECHO_RSP


@given(
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.text(st.characters(min_codepoint=33, max_codepoint=126)),
    st.booleans(),
)
@settings(max_examples=80)
def test_an_answer_survives_the_wire(message: int, status: int, comment: str, has_data_set: bool) -> None:
    answer = EchoRSP(message, status, comment, has_data_set=has_data_set)
    assert decode_command(answer.encode()) == answer


def test_another_command_is_named_by_its_field() -> None:
    data = bytearray(EchoRSP(1, 0).encode())
    at = data.index(b"\x30\x80")
    data[at : at + 2] = b"\x01\x80"
    assert decode_command(bytes(data)) == OtherCommand(0x8001, None, has_data_set=False)


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\x08\0\x05\0\x02\0\0\0xx",  # an element of another group
        b"\0\0\0\x01\xff\xff\xff\xff",  # an element that leads outside
        b"\0\0\0\x01\x01\0\0\0\x30",  # a command field of one byte
        b"",
        EchoRSP(1, 0).encode()[:-10],  # without a status
    ],
)
def test_a_broken_command_set_gives_a_typed_error(data: bytes) -> None:
    with pytest.raises(InvalidValueError):
        decode_command(data)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_command_or_a_typed_error(data: bytes) -> None:
    with contextlib.suppress(InvalidValueError):
        assert decode_command(data).has_data_set in (True, False)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_command_in_fragments_is_put_together(size: int) -> None:
    whole = EchoRSP(1, 0).encode()
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    assembler = CommandAssembler()
    found = [
        assembler.add(PresentationDataValue(1, piece, is_command=True, is_last=number == len(pieces) - 1))
        for number, piece in enumerate(pieces)
    ]
    assert [item for item in found if item] == [(1, EchoRSP(1, 0))]


def test_fragments_of_two_contexts_are_refused() -> None:
    assembler = CommandAssembler()
    assembler.add(PresentationDataValue(1, b"a", is_command=True, is_last=False))
    with pytest.raises(InvalidValueError):
        assembler.add(PresentationDataValue(3, b"b", is_command=True, is_last=True))


def test_a_command_set_without_end_is_refused() -> None:  # T50
    assembler = CommandAssembler()
    piece = PresentationDataValue(1, bytes(30_000), is_command=True, is_last=False)
    assembler.add(piece)
    assembler.add(piece)
    with pytest.raises(InvalidValueError):
        assembler.add(piece)


def test_data_sets_are_counted_and_dropped() -> None:
    assembler = CommandAssembler()
    assert assembler.add(PresentationDataValue(1, b"abc", is_command=False, is_last=True)) is None
    assert assembler.data_set_bytes == 3
