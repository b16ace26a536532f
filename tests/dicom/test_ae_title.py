"""The grammar of AE titles (PS3.5 6.2, PS3.8 9.3.2). Covers T01, T02 and T04 for the title itself."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.dicom.ae_title import (
    AETitle,
    InvalidAETitleError,
    check_ae_title,
    decode_ae_title,
    encode_ae_title,
    fold_ae_title,
    is_plain_ae_title,
    normalize_ae_title,
)

G0_WITHOUT_BACKSLASH = [chr(code) for code in range(0x20, 0x7F) if chr(code) != "\\"]
legal_titles = st.text(alphabet=G0_WITHOUT_BACKSLASH, min_size=1, max_size=16).filter(str.strip)


@pytest.mark.parametrize("text", ["A", "PACS", "a" * 16, "  PACS  ", " " * 20 + "X", "A B", "|,\"'*#!", "0123", "NO"])
def test_legal_titles_have_no_reason_against_them(text: str) -> None:
    assert check_ae_title(text) is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        (" ", "spaces"),
        (" " * 16, "spaces"),
        ("A" * 17, "17 characters"),
        ("A B" + "C" * 14, "17 characters"),
        ("A\\B", "backslash"),
        ("A\nB", "0AH"),
        ("A\n", "0AH"),
        ("\x7f", "7FH"),
        ("PÄCS", "holds 'Ä' (U+00C4), which is outside the default character repertoire"),
        ("A\u202eB", "repertoire"),
    ],
)
def test_illegal_titles_are_refused_in_words(text: str, word: str) -> None:  # T04
    reason = check_ae_title(text)
    assert reason is not None
    assert word in reason


def test_no_code_point_outside_the_repertoire_is_let_in_at_any_position() -> None:  # T01
    legal = set(G0_WITHOUT_BACKSLASH)
    for code in range(0x10000):
        character = chr(code)
        for text in (character + "B", "A" + character + "B", "A" + character):
            assert (check_ae_title(text) is None) == (character in legal)


def test_only_capitals_digits_and_three_signs_are_plain() -> None:
    plain = string.ascii_uppercase + string.digits + "_.-"
    assert all(is_plain_ae_title(character) == (character in plain) for character in map(chr, range(0x180)))
    assert not is_plain_ae_title("A\n")
    assert not is_plain_ae_title("")
    assert not is_plain_ae_title("A" * 17)


def test_twins_fold_to_one_form_and_normalizing_keeps_the_case() -> None:
    assert fold_ae_title(" Viewer1 ") == fold_ae_title("VIEWER1")
    assert normalize_ae_title(" Viewer1 ") == "Viewer1"
    assert normalize_ae_title("\tA") == "\tA"


@given(legal_titles)
def test_a_legal_title_survives_the_wire(text: str) -> None:
    field = encode_ae_title(text)
    assert len(field) == 16
    assert decode_ae_title(field) == normalize_ae_title(text)
    assert AETitle(text) == normalize_ae_title(text)


@given(st.binary(max_size=32))
def test_any_bytes_are_read_without_an_exception(field: bytes) -> None:
    assert isinstance(decode_ae_title(field), str)


@pytest.mark.parametrize(
    ("field", "title"),
    [
        (b"PACS\0" + b"\0" * 11, "PACS"),
        (b" " * 16, ""),
        (b"\0" * 16, ""),
        (b" PACS\0junk", "PACS"),
        (b"P\xe4CS", "PäCS"),
    ],
)
def test_padding_of_real_devices_is_survived(field: bytes, title: str) -> None:
    assert decode_ae_title(field) == title


@pytest.mark.parametrize("text", ["", "A" * 17, "A\\B"])
def test_an_illegal_title_is_never_encoded(text: str) -> None:
    with pytest.raises(InvalidAETitleError):
        encode_ae_title(text)
    with pytest.raises(ValueError, match="AE title"):
        AETitle(text)
