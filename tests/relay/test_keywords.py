"""The table of keywords against the library's own."""

from pydicom.datadict import DicomDictionary

from fleet.relay.keywords import tag_of


def test_every_keyword_of_the_library_has_the_same_tag_here() -> None:
    for tag, row in DicomDictionary.items():
        if row[4]:
            assert tag_of(row[4]) == tag


def test_a_word_that_the_standard_does_not_know_has_no_tag() -> None:
    assert tag_of("PatientsName") is None
    assert tag_of("#") is None
