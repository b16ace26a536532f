"""What is not printable is shown, never sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.sheet.safe import guard_cell, safe_line, safe_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 東", "plain ü 東"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b", "\\x9b"),
        ("a\nb", "a\\x0ab"),
        ("\u202e", "\\u202e"),
        ("\U000e0001", "\\U000e0001"),
        ("\udcff", "\\udcff"),
        ("\t", "\\x09"),
    ],
)
def test_what_moves_a_terminal_comes_out_as_its_number(text: str, shown: str) -> None:  # T53
    assert safe_text(text) == shown


@given(st.text())
def test_safe_text_is_printable_and_stays_what_it_is(text: str) -> None:
    shown = safe_text(text)
    assert shown.isprintable()
    assert safe_text(shown) == shown
    assert safe_line(text).replace("\t", "").isprintable()


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+351 555", "'+351 555"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("  =1", "'  =1"),
        ("\u00a0=1", "'\\xa0=1"),
        ("\t=1", "'\\x09=1"),
        ("\r1", "'\\x0d1"),
        ("\uff1d1", "'\uff1d1"),
        ("a=b", "a=b"),
        (-5, "-5"),
        (None, ""),
        (0.5, "0.5"),
    ],
)
def test_a_cell_that_would_be_a_formula_is_quoted(value: object, cell: str) -> None:  # T53
    assert guard_cell(value) == cell
