"""Graphics and structured content. # T74"""

from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from fleet.relay.transform.keys import Pseudonyms
from tests.relay.deidentified import deidentified, reason
from tests.relay.instances import KEY, make_ct


def test_graphics_keep_their_shapes_and_lose_their_texts(tmp_path: Path) -> None:
    text, shape, annotation = Dataset(), Dataset(), Dataset()
    text.UnformattedTextValue = "Zyxomma"
    shape.GraphicAnnotationUnits, shape.GraphicDimensions, shape.NumberOfGraphicPoints = "PIXEL", 2, 1
    shape.GraphicData, shape.GraphicType = [3.0, 4.0], "POINT"
    annotation.GraphicLayer, annotation.TextObjectSequence, annotation.GraphicObjectSequence = "L", [text], [shape]
    only_text = Dataset()
    only_text.GraphicLayer, only_text.TextObjectSequence = "L", [text]
    dataset = make_ct(GraphicAnnotationSequence=[annotation, only_text])
    [kept] = deidentified(tmp_path, dataset, "clean-graphics").GraphicAnnotationSequence
    assert kept.GraphicObjectSequence[0].GraphicData == [3.0, 4.0]
    assert "TextObjectSequence" not in kept
    [dummy] = deidentified(tmp_path, dataset).GraphicAnnotationSequence
    assert dummy.GraphicObjectSequence[0].GraphicData == [1.0, 1.0]


def code(value: str, scheme: str, meaning: str) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def content(kind: str, concept: Dataset, **more: Any) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", kind, [concept]
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def dose_report() -> Dataset:
    measured = Dataset()
    measured.NumericValue, measured.MeasurementUnitsCodeSequence = "345.6", [code("mGy.cm", "UCUM", "mGy.cm")]
    inner = content("TEXT", code("121106", "DCM", "Comment"), TextValue="Zyxomma was restless, head first")
    items = [
        content("NUM", code("113838", "DCM", "CT Dose Length Product Total"), MeasuredValueSequence=[measured]),
        content("PNAME", code("121008", "DCM", "Person Observer Name"), PersonName="Zyxomma"),
        content("TEXT", code("113877", "DCM", "Device Name"), TextValue="CT_ER"),
        content(
            "CODE", code("121058", "DCM", "Procedure reported"), ConceptCodeSequence=[code("P5-08000", "SRT", "CT")]
        ),
        content("NUM", code("121033", "DCM", "Subject Age"), MeasuredValueSequence=[measured]),
        content("TEXT", code("X1", "99LOCAL", "Zyxomma"), TextValue="Zyxomma"),
        content("UIDREF", code("113769", "DCM", "Irradiation Event UID"), UID="1.2.3.88"),
        content("CONTAINER", code("113819", "DCM", "CT Acquisition"), ContentSequence=[inner]),
    ]
    return make_ct(ContentSequence=items)


def test_structured_content_keeps_numbers_and_codes_and_no_free_text(tmp_path: Path) -> None:
    found = deidentified(tmp_path, dose_report(), "clean-structured-content")
    kinds = [(item.ValueType, item.ConceptNameCodeSequence[0].CodeValue) for item in found.ContentSequence]
    assert kinds == [("NUM", "113838"), ("PNAME", "121008"), ("TEXT", "113877"), ("CODE", "121058"),
                     ("UIDREF", "113769"), ("CONTAINER", "113819")]  # fmt: skip
    assert found.ContentSequence[0].MeasuredValueSequence[0].NumericValue == "345.6"
    assert b"zyxomma" not in (tmp_path / "out.dcm").read_bytes().lower()
    assert Pseudonyms(KEY).uid("1.2.3.88") == found.ContentSequence[4].UID
    assert found.ContentSequence[2].TextValue == "ANONYMIZED"


def test_structured_content_keeps_devices_and_age_where_their_options_say_so(tmp_path: Path) -> None:
    options = (
        "clean-structured-content",
        "retain-device-identity",
        "retain-patient-characteristics",
        "clean-descriptors",
    )
    found = deidentified(tmp_path, dose_report(), *options)
    assert found.ContentSequence[2].TextValue == "CT_ER"
    assert "121033" in [item.ConceptNameCodeSequence[0].CodeValue for item in found.ContentSequence]
    assert found.ContentSequence[-1].ContentSequence[0].TextValue == "head"


def test_without_the_option_structured_content_becomes_a_dummy(tmp_path: Path) -> None:
    [item] = deidentified(tmp_path, dose_report()).ContentSequence
    assert (item.ValueType, item.TextValue) == ("TEXT", "ANONYMIZED")


def test_content_that_refers_to_itself_by_number_stops_the_instance(tmp_path: Path) -> None:
    dataset = dose_report()
    dataset.ContentSequence[0].ReferencedContentItemIdentifier = [1, 2]
    assert "by number" in reason(tmp_path, dataset, "clean-structured-content")
