"""Sequences whose items have a meaning of their own: dummies that keep the object valid, graphics, SR content.

Content items (PS3.3 C.17.3) are cleaned by their value type, not by a list of what is bad: codes of public schemes,
numbers, coordinates and references stay; free text and names never do, unless an option keeps just that concept.
"""

import re
from collections.abc import Callable
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from fleet.relay.transform.stand_ins import DUMMY_TEXT, clean_text

# Designators of PS3.16 table 8-1 whose codes anybody can look up, so that none is made up by a hospital.
PUBLIC_SCHEMES: Final = frozenset(
    [
        "DCM",
        "SCT",
        "SRT",
        "SNM3",
        "99SDM",
        "LN",
        "UCUM",
        "RADLEX",
        "NCIt",
        "UMLS",
        "FMA",
        "MDC",
        "ACR",
        "BI",
        "IBSI",
        "ICD10",
        "I10",
        "I9",
        "ISO3166_1",
        "ISO639_1",
        "RXNORM",
    ]
)
_CODE: Final = re.compile(r"[A-Za-z]{0,4}-?[0-9A-Fa-f.:/-]{1,15}|[0-9]{1,18}")
_UNIT: Final = re.compile(r"(?:\{[a-z ./]{1,30}\}|[A-Za-z0-9%./^*\[\]_-]{1,12})(?:[./].{1,12})?")
# PS3.15 table E.3.4-1: what the options for devices, institutions and patients keep of an SR.
_KEPT: Final = {
    "device": frozenset(
        ["120999", "113877", "121013", "121016", "113880", "121193", "121196", "121122", "113832", "110119", "74711-3"]
    ),
    "institution": frozenset(["121017", "121197", "113873", "122128", "121009", "121434"]),
    "patient": frozenset({"121033", "121032"}),
}
_PERSONAL: Final = frozenset({"121033", "121032"})  # subject's age (NUM) and sex (CODE)
_TEXTS: Final = {"TEXT": "TextValue", "PNAME": "PersonName"}


class UncleanableError(Exception):
    """Something that has to go cannot, without making the object wrong; the message holds no value of it."""


def make_dummy_items(keyword: str, items: Sequence, map_uid: Callable[[str], str]) -> list[Dataset]:
    """Items without meaning for a sequence that has to have some. Raises `UncleanableError` for an unknown one."""
    if keyword == "ReferencedPerformedProcedureStepSequence":
        return [_reference(item, map_uid) for item in items]
    makers: dict[str, Callable[[], Dataset]] = {
        "ContentSequence": _dummy_content,
        "FlowIdentifierSequence": lambda: _item(FlowIdentifier=b"\0\0"),
        "GraphicAnnotationSequence": _dummy_graphic,
        "InstitutionCodeSequence": _dummy_code,
        "OperatorIdentificationSequence": lambda: _item(
            PersonIdentificationCodeSequence=[_dummy_code()], InstitutionName=DUMMY_TEXT
        ),
        "PersonIdentificationCodeSequence": _dummy_code,
        "VerifyingObserverSequence": lambda: _item(
            VerifyingOrganization=DUMMY_TEXT,
            VerificationDateTime="19000101000000",
            VerifyingObserverName=DUMMY_TEXT,
            VerifyingObserverIdentificationCodeSequence=[],
        ),
        "WaveformAnnotationSequence": lambda: _item(
            UnformattedTextValue=DUMMY_TEXT, ReferencedWaveformChannels=[1, 0], AnnotationGroupNumber=1
        ),
    }
    if keyword not in makers:
        raise UncleanableError(f"{keyword} has to be replaced by a dummy, and none is known for it")
    return [makers[keyword]()]


def clean_graphics(items: Sequence) -> list[Dataset]:
    """Shapes stay, whatever is text goes; an item that had nothing else goes with it."""
    kept = []
    for item in items:
        for keyword in ("TextObjectSequence", "CompoundGraphicSequence"):
            if keyword in item:
                del item[keyword]
        if "GraphicObjectSequence" in item:
            kept.append(item)
    return kept


def clean_content(item: Dataset, columns: frozenset[str], forbidden: frozenset[str]) -> bool:
    """Whether a content item stays, cleaned; what has dates, UIDs and items of its own is cleaned elsewhere."""
    kind, concept = str(item.get("ValueType", "")), _code_of(item, "ConceptNameCodeSequence")
    kept = any(concept in _KEPT[column] for column in columns if column in _KEPT)
    if concept in _PERSONAL and not kept:
        return False
    if not all(
        _is_public(code) for key in ("ConceptNameCodeSequence", "ConceptCodeSequence") for code in item.get(key, ())
    ):
        return False
    for key in ("ConceptNameCodeSequence", "ConceptCodeSequence"):
        for code in item.get(key, ()):
            clean_code(code, forbidden)
    if kind in _TEXTS and not (kept and kind == "TEXT"):
        _replace_text(item, _TEXTS[kind], columns, forbidden)
    return True


def clean_code(code: Dataset, forbidden: frozenset[str]) -> None:
    """A code of a public scheme keeps its meaning, unless that holds a word of the patient's identity."""
    meaning = str(code.get("CodeMeaning", ""))
    if forbidden.intersection(re.split(r"[^\w]+", meaning.casefold())):
        code.CodeMeaning = str(code.get("CodeValue", DUMMY_TEXT))


def is_code(item: Dataset) -> bool:
    """Whether an item is a coded entry (PS3.3 section 8)."""
    return "CodingSchemeDesignator" in item and "CodeMeaning" in item


def _is_public(code: Dataset) -> bool:
    scheme, value = str(code.get("CodingSchemeDesignator", "")), str(code.get("CodeValue", ""))
    pattern = _UNIT if scheme == "UCUM" else _CODE
    return scheme in PUBLIC_SCHEMES and bool(pattern.fullmatch(value))


def _replace_text(item: Dataset, keyword: str, columns: frozenset[str], forbidden: frozenset[str]) -> None:
    text = str(item.get(keyword, ""))
    cleaned = clean_text(text, forbidden, "UT") if "descriptors" in columns and keyword == "TextValue" else ""
    setattr(item, keyword, cleaned or DUMMY_TEXT)


def _code_of(item: Dataset, keyword: str) -> str:
    codes = item.get(keyword) or ()
    return next((str(code.get("CodeValue", "")) for code in codes), "")


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _dummy_code() -> Dataset:
    return _item(CodeValue="0", CodingSchemeDesignator="99ANON", CodeMeaning=DUMMY_TEXT)


def _dummy_content() -> Dataset:
    comment = _item(CodeValue="121106", CodingSchemeDesignator="DCM", CodeMeaning="Comment")
    return _item(RelationshipType="CONTAINS", ValueType="TEXT", ConceptNameCodeSequence=[comment], TextValue=DUMMY_TEXT)


def _dummy_graphic() -> Dataset:
    point = _item(
        GraphicAnnotationUnits="PIXEL",
        GraphicDimensions=2,
        NumberOfGraphicPoints=1,
        GraphicData=[1.0, 1.0],
        GraphicType="POINT",
        GraphicFilled="N",
    )
    return _item(GraphicLayer=DUMMY_TEXT, GraphicObjectSequence=[point])


def _reference(item: Dataset, map_uid: Callable[[str], str]) -> Dataset:
    return _item(
        ReferencedSOPClassUID=str(item.get("ReferencedSOPClassUID", "")),
        ReferencedSOPInstanceUID=map_uid(str(item.get("ReferencedSOPInstanceUID", ""))),
    )
