"""De-identification against PS3.15 table E.1-1, element by element; what may be asked for. # T74"""

import re
from pathlib import Path

import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag

from fleet.relay.transform.deidentify import check_deidentify
from fleet.relay.transform.table import COLUMNS, OPTION_CODES, PROFILE_CODE, Row, read_table
from fleet.relay.values import Deidentify
from tests.relay.deidentified import IN_DICTIONARY, MODIFIED, OPTIONS, ROWS, deidentified, reason, sample, with_samples
from tests.relay.instances import make_ct


def expected_letters(row: Row, columns: frozenset[str]) -> str:
    """The table's own words: what an option keeps, then what it cleans, then the profile."""
    letters = {row.options[column] for column in columns & set(row.options)}
    return "K" if "K" in letters else "C" if "C" in letters else row.basic


def assert_row(found: Dataset, row: Row, letters: str) -> None:
    tag, vr = Tag(row.tag), dictionary_VR(row.tag)
    before = sample(row.tag)
    present = tag in found
    value = found[tag].value if present else None
    text = str(value).casefold()
    if letters == "K":
        assert present
        if vr != "SQ":
            assert value == before or str(value) == str(before)
        return
    assert not [each for each in ("zyxomma", "brobdingnag", "number-") if each in text], row
    if vr == "TM" and letters == "C":
        assert value == before, "whole days are shifted, so a time of day is what it was"
    elif vr not in {"SQ", "OB", "UN", "AS"} and present:
        assert str(value) != str(before), row
    if letters == "X":
        assert not present
    elif letters == "Z":
        assert present
    elif letters == "D":
        assert present
        assert value not in (None, "", b"")
    elif letters == "U":
        assert re.fullmatch(r"2\.25\.[1-9][0-9]{10,38}", str(value))
    elif letters != "C":
        assert set(letters.split("/")) & {"Z", "D", "U*"}, letters
        assert present, "a compound action may remove, but what stays valid for every type is to keep it without sense"


def test_the_table_has_the_rows_and_actions_that_the_standard_has() -> None:
    """Counts of 2024e: 617 tags beside four rules for groups; what later editions added has no options."""
    table = read_table()
    assert len(table) == 652
    assert {row.basic for row in table.values()} == {"X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"}
    assert {letter for row in table.values() for letter in row.options.values()} == {"K", "C"}
    assert {column for row in table.values() for column in row.options} <= set(COLUMNS.values())
    assert sum("full" in row.options for row in table.values()) == 165
    assert sum("descriptors" in row.options for row in table.values()) == 125
    for row in IN_DICTIONARY:
        assert keyword_for_tag(row.tag) == row.keyword


def test_a_second_transcription_of_the_table_has_the_same_actions() -> None:
    """Made from another reading of the standard (2026c); the four rules for groups are no rows here."""
    text = (Path(__file__).parents[1] / "cases" / "relay" / "basic-profile.txt").read_text(encoding="ascii")
    other = dict(line.split() for line in text.splitlines() if not line.startswith("#"))
    assert other == {f"{row.tag:08X}": row.basic for row in read_table().values()}


@pytest.mark.parametrize("option", ["", *OPTIONS])
def test_every_attribute_of_the_table_is_treated_as_its_row_says(option: str, tmp_path: Path) -> None:
    """All of them in one instance, for the profile alone and for each option."""
    columns = frozenset({COLUMNS[option]} if option else ())
    found = deidentified(tmp_path, with_samples(*ROWS), *([option] if option else []))
    for row in ROWS:
        letters = expected_letters(row, columns)
        assert_row(found, row, letters)
        if letters == "C" and dictionary_VR(row.tag) in {"DA", "DT"}:
            assert "19" < str(found[Tag(row.tag)].value) < "2026112", "shifted, not lost"


def test_of_two_options_the_one_that_keeps_wins_over_the_one_that_cleans(tmp_path: Path) -> None:
    options = ("clean-descriptors", "retain-patient-characteristics", "retain-device-identity", "retain-uids")
    found = deidentified(tmp_path, with_samples(*ROWS), *options)
    for row in ROWS:
        assert_row(found, row, expected_letters(row, frozenset(COLUMNS[option] for option in options)))


@pytest.mark.parametrize("tag", [0x00420011])
def test_a_whole_document_inside_the_object_stops_it(tag: int, tmp_path: Path) -> None:
    assert reason(tmp_path, with_samples(read_table()[tag])) == (
        "EncapsulatedDocument holds a whole document, which cannot be cleaned"
    )


@pytest.mark.parametrize("tag", [0xFFFCFFFC])
def test_padding_behind_the_pixels_goes(tag: int, tmp_path: Path) -> None:
    found = deidentified(tmp_path, make_ct(DataSetTrailingPadding=b"ZYXOMMA\0"))
    assert Tag(tag) not in found
    assert b"ZYXOMMA" not in (tmp_path / "out.dcm").read_bytes()


@pytest.mark.parametrize("option", ["", *OPTIONS])
def test_what_was_done_is_written_into_the_instance(option: str, tmp_path: Path) -> None:
    found = deidentified(tmp_path, make_ct(), *([option] if option else []))
    wanted = [PROFILE_CODE, *([OPTION_CODES[option]] if option else [])]
    assert found.PatientIdentityRemoved == "YES"
    assert "PS3.15" in str(found.DeidentificationMethod)
    assert [(code.CodeValue, code.CodeMeaning) for code in found.DeidentificationMethodCodeSequence] == wanted
    kinds = {"retain-longitudinal-full-dates": "UNMODIFIED", MODIFIED: "MODIFIED"}
    assert found.LongitudinalTemporalInformationModified == kinds.get(option, "REMOVED")


def test_the_codes_of_profile_and_options_are_those_of_context_group_7050() -> None:
    known = {code.value: code.meaning for code in codes.cid7050.concepts.values()}
    for value, meaning in (PROFILE_CODE, *OPTION_CODES.values()):
        assert known[value] == meaning


def said(*options: str, pseudonyms: tuple[str, ...] = (), profile: str = "basic") -> list[str]:
    return list(check_deidentify(Deidentify(profile, frozenset(options), pseudonyms)))


@pytest.mark.parametrize("option", ["clean-pixel-data", "clean-recognizable-visual-features", "retain-all"])
def test_an_option_that_cannot_be_done_right_is_refused_with_its_word(option: str) -> None:
    [sentence] = said(option)
    assert option in sentence


def test_options_that_exclude_one_another_and_pseudonyms_of_what_is_no_text_are_refused() -> None:
    assert "exclude" in said("retain-longitudinal-full-dates", MODIFIED)[0]
    assert "Rows" in said(pseudonyms=("Rows",))[0]
    assert "NoSuchThing" in said(pseudonyms=("NoSuchThing",))[0]
    assert "hard" in said(profile="hard")[0]
    assert said(*(set(OPTIONS) - {MODIFIED}), pseudonyms=("PatientName", "PatientID", "AccessionNumber")) == []
