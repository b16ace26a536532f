"""Require, de-identify, edit: the order, the file around them, and what never leaves. # T73 # T74 # T75 # T79"""

import errno
import stat
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

import fleet.relay.transform.steps as transform_module
from fleet.relay.transform.steps import check_transform, transform
from fleet.relay.values import (
    CopyEdit,
    Deidentify,
    Edit,
    Element,
    Quarantine,
    RemoveEdit,
    Route,
    SetEdit,
    Target,
    Text,
    Transformed,
    When,
)
from tests.relay.instances import KEY, PIXELS, make_ct, make_route, write


def setting(keyword: str, *parts: Text | Element | str) -> SetEdit:
    return SetEdit(keyword, tuple(Text(part) if isinstance(part, str) else part for part in parts))


def run(folder: Path, route: Route, syntax: str = ExplicitVRLittleEndian, **more: Any) -> Any:
    """The data set that came out, or the reason why none did."""
    source, target = write(folder / "in.dcm", make_ct(**more), syntax), folder / "out.dcm"
    target.unlink(missing_ok=True)
    before = source.read_bytes()
    result = transform(source, target, route, KEY)
    assert source.read_bytes() == before, "T75: the original is kept as it is"
    if isinstance(result, Quarantine):
        assert not target.exists()
        return result.reason
    return dcmread(target)


# The file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
@pytest.mark.parametrize("plain", [True, False])
def test_pixels_and_transfer_syntax_are_what_they_were(syntax: str, plain: bool, tmp_path: Path) -> None:
    found = run(tmp_path, make_route(plain=plain, edit=(setting("InstitutionName", "Mercy Health"),)), syntax)
    assert found.file_meta.TransferSyntaxUID == syntax
    assert found.PixelData == PIXELS
    assert found.InstitutionName == "Mercy Health"


def test_encapsulated_fragments_pass_as_the_bytes_that_they_are(tmp_path: Path) -> None:
    scan = b"\xff\xd8\xff\xda\0\x08\1\1\0\0\x3f\0"
    frames = encapsulate([scan + b"one\xff\xd9\0", scan + b"frame two\xff\xd9"], has_bot=True)
    dataset = make_ct(NumberOfFrames=2, PixelData=frames)
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    source = write(tmp_path / "in.dcm", dataset, JPEGBaseline8Bit)
    result = transform(source, tmp_path / "out.dcm", make_route(), KEY)
    assert isinstance(result, Transformed)
    assert result.transfer_syntax_uid == JPEGBaseline8Bit
    assert dcmread(tmp_path / "out.dcm").PixelData == frames


def test_the_new_file_is_private_and_holds_no_preamble_and_no_address_of_the_old(tmp_path: Path) -> None:
    # T79
    found = run(tmp_path, make_route(plain=True, edit=(RemoveEdit("InstitutionName"),)))
    target = tmp_path / "out.dcm"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_bytes()[:132] == b"\0" * 128 + b"DICM"
    assert "SourceApplicationEntityTitle" not in found.file_meta
    assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID == "1.2.3.4.5.6.7"


def test_dcmtk_reads_what_was_written(tmp_path: Path) -> None:
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        run(tmp_path, make_route("clean-descriptors", pseudonyms=("PatientName",)), syntax)
        done = subprocess.run(["dcmdump", "-q", tmp_path / "out.dcm"], capture_output=True, check=False, timeout=30)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_file_that_was_cut_inside_an_element_is_quarantined(syntax: str, tmp_path: Path) -> None:
    item = make_ct()
    del item.PixelData
    dataset = make_ct(ReferencedImageSequence=[item])
    dataset["ReferencedImageSequence"].is_undefined_length = True
    source, target = write(tmp_path / "in.dcm", dataset, syntax), tmp_path / "out.dcm"
    content = source.read_bytes()
    passed = []
    for length in range(len(content) - len(PIXELS) // 2):
        source.write_bytes(content[:length])
        result = transform(source, target, make_route(), KEY)
        assert target.exists() == isinstance(result, Transformed)
        if isinstance(result, Transformed):
            target.unlink()
            passed.append(length)
    assert len(passed) <= len(dataset), "only what ends with an element looks whole; its hash in the spool tells (T76)"
    assert list(tmp_path.iterdir()) == [source]


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(128, 1200), to=st.integers(0, 255))
def test_any_byte_of_a_header_may_be_wrong_and_nothing_is_raised_nor_said_aloud(
    at: int, to: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # T73, T74
    source, target = write(tmp_path / "in.dcm", make_ct()), tmp_path / "out.dcm"
    target.unlink(missing_ok=True)
    content = bytearray(source.read_bytes())
    content[min(at, len(content) - 1)] = to
    source.write_bytes(content)
    result = transform(source, target, make_route("clean-descriptors"), KEY)
    assert target.exists() == isinstance(result, Transformed)
    said = result.reason if isinstance(result, Quarantine) else ""
    assert "lanted" not in said + "".join(capfd.readouterr())


def test_a_deflate_bomb_stops_at_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.relay.transform.file._LONGEST_INFLATED", 1 << 20)
    source = write(tmp_path / "in.dcm", make_ct(), DeflatedExplicitVRLittleEndian)
    content = source.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    deflater = zlib.compressobj(wbits=-15)
    source.write_bytes(content[:start] + deflater.compress(b"\0" * (1 << 24)) + deflater.flush())
    result = transform(source, tmp_path / "out.dcm", make_route(), KEY)
    assert result == Quarantine("its deflated data set is longer than a gigabyte")


def test_whatever_breaks_inside_quarantines_and_says_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # T73, T74
    def broken(*_arguments: object) -> None:
        raise RuntimeError("Planted^Name")

    monkeypatch.setattr(transform_module, "deidentify", broken)
    assert run(tmp_path, make_route()) == "the transformation failed: RuntimeError"
    assert "lanted" not in "".join(capfd.readouterr())


def test_the_library_says_nothing_about_values_that_are_wrong(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # T73
    source = write(tmp_path / "in.dcm", make_ct())
    content = source.read_bytes().replace(b"20261120", b"planted!")
    source.write_bytes(content)
    transform(source, tmp_path / "out.dcm", make_route("retain-longitudinal-modified-dates"), KEY)
    assert "lanted" not in "".join(capfd.readouterr())


def test_a_full_disk_is_no_fault_of_the_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(opened: object, path: Path, pixels: object = None) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(transform_module, "write_instance", full)
    source = write(tmp_path / "in.dcm", make_ct())
    with pytest.raises(OSError, match="No space") as raised:
        transform(source, tmp_path / "out.dcm", make_route(), KEY)
    assert raised.value.filename is None
    assert list(tmp_path.iterdir()) == [source], "nothing half-written stays"


def test_what_exists_already_is_not_written_over(tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.dcm", make_ct()), tmp_path / "out.dcm"
    target.write_bytes(b"another's")
    assert isinstance(transform(source, target, make_route(), KEY), Quarantine)
    assert target.read_bytes() == b"another's"


def test_the_same_input_route_and_key_make_the_same_bytes_again(tmp_path: Path) -> None:
    source = write(tmp_path / "in.dcm", make_ct())
    route = make_route("retain-longitudinal-modified-dates", pseudonyms=("PatientName", "PatientID"))
    made = []
    for name in ("a", "b"):
        transform(source, tmp_path / name, route, KEY)
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]


# The order -------------------------------------------------------------------------------------------------


def test_what_is_required_is_asked_of_the_original_and_edits_see_what_was_deidentified(tmp_path: Path) -> None:
    route = make_route(
        pseudonyms=("PatientID",),
        require={"PatientName": "Planted.*", "AccessionNumber": None},
        edit=(setting("PatientComments", "was ", Element("PatientID")), RemoveEdit("PatientSex")),
    )
    found = run(tmp_path, route)
    assert found.PatientComments == f"was {found.PatientID}"
    assert found.PatientID != "PLANTED-77"
    assert "PatientSex" not in found


@pytest.mark.parametrize(
    ("require", "more", "said"),
    [
        ({"AccessionNumber": None}, {"AccessionNumber": ""}, "AccessionNumber is required and missing or empty"),
        ({"BodyPartExamined": None}, {}, "BodyPartExamined is required and missing or empty"),
        ({"PatientID": "[0-9]+"}, {}, "PatientID does not match the pattern that is required"),
        ({"PatientID": "PLANTED"}, {}, "PatientID does not match the pattern that is required"),
        (
            {"ImageComments": ".*"},
            {"ImageComments": "x" * 2000},
            "ImageComments is required to match a pattern and longer than 1024",
        ),
    ],
)
def test_what_lacks_a_required_element_is_quarantined_by_its_keyword(
    require: dict[str, str | None], more: dict[str, str], said: str, tmp_path: Path
) -> None:
    assert run(tmp_path, make_route(require=require), **more) == said


def test_an_edit_cannot_take_the_mark_of_deidentification_away(tmp_path: Path) -> None:
    route = make_route(edit=(setting("PatientIdentityRemoved", "NO"),))
    assert run(tmp_path, route) == "PatientIdentityRemoved is not YES after the edits"


# Edits -----------------------------------------------------------------------------------------------------


def edited(folder: Path, *edits: Edit, **more: Any) -> Any:
    return run(folder, make_route(plain=True, edit=edits), **more)


def test_edits_are_made_in_their_order(tmp_path: Path) -> None:
    found = edited(
        tmp_path,
        setting("InstitutionName", "A ", Element("Modality")),
        CopyEdit("InstitutionName", "InstitutionalDepartmentName"),
        RemoveEdit("InstitutionName"),
        setting("SeriesNumber", "7"),
        setting("ImageType", "DERIVED\\SECONDARY"),
        setting("StudyDescription"),
    )
    assert found.InstitutionalDepartmentName == "A CT"
    assert "InstitutionName" not in found
    assert found.SeriesNumber == 7
    assert list(found.ImageType) == ["DERIVED", "SECONDARY"]
    assert found.StudyDescription == ""
    assert found.PatientName == "Planted^Name"


def test_braces_in_a_value_of_the_instance_are_no_keyword(tmp_path: Path) -> None:
    found = edited(tmp_path, setting("PatientComments", Element("StudyDescription")), StudyDescription="{PatientName}")
    assert found.PatientComments == "{PatientName}"


MISSING = "InstitutionName is to be set from ImageComments, which is missing or empty"


def no_value(keyword: str, vr: str) -> str:
    return f"what {keyword} would be set to is no value of {vr} (PS3.5 table 6.2-1)"


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (setting("StudyDate", "2026-11-20"), no_value("StudyDate", "DA")),
        (setting("Modality", "ct"), no_value("Modality", "CS")),
        (setting("AccessionNumber", "x" * 17), no_value("AccessionNumber", "SH")),
        (setting("StudyInstanceUID", "1.02"), no_value("StudyInstanceUID", "UI")),
        (setting("StudyInstanceUID"), "StudyInstanceUID is missing or no UID (PS3.5 9.1)"),
        (setting("SeriesNumber", "x"), no_value("SeriesNumber", "IS")),
        (setting("Modality", "CT\\MR"), "Modality would have 2 values and has to have 1"),
        (setting("InstitutionName", "a\tb"), "what InstitutionName would be set to has control characters"),
        (setting("InstitutionName", Element("ImageComments")), MISSING),
        (CopyEdit("ImageComments", "InstitutionName"), MISSING),
        (CopyEdit("PatientName", "StudyDate"), no_value("StudyDate", "DA")),
    ],
)  # fmt: skip
def test_an_edit_that_would_make_invalid_dicom_quarantines(edit: Edit, said: str, tmp_path: Path) -> None:
    # T75
    assert edited(tmp_path, edit) == said


def test_a_text_beyond_ascii_is_written_in_the_character_set_of_the_instance_or_not_at_all(tmp_path: Path) -> None:
    name = setting("InstitutionName", "Hospital de São José")
    greek = setting("InstitutionName", "Ευαγγελισμός")
    assert edited(tmp_path, name, SpecificCharacterSet="ISO_IR 100").InstitutionName == "Hospital de São José"
    assert edited(tmp_path, greek, SpecificCharacterSet="ISO_IR 192").InstitutionName == "Ευαγγελισμός"
    found = edited(tmp_path, name)
    assert (found.SpecificCharacterSet, found.InstitutionName) == ("ISO_IR 100", "Hospital de São José")
    assert edited(tmp_path, greek, SpecificCharacterSet="ISO_IR 100") == (
        "what InstitutionName would be set to is not in the instance's SpecificCharacterSet"
    )


# What is refused at the start ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (setting("PatientsName", "x"), "PatientsName is no element"),
        (setting("SOPInstanceUID", "1.2"), "SOPInstanceUID cannot be set"),
        (setting("TransferSyntaxUID", "1.2"), "TransferSyntaxUID cannot be set"),
        (setting("SpecificCharacterSet", "ISO_IR 192"), "SpecificCharacterSet cannot be set"),
        (setting("PixelData", "x"), "PixelData cannot be set"),
        (setting("RequestAttributesSequence", "x"), "RequestAttributesSequence cannot be set"),
        (setting("PatientName", Element("PixelData")), "PixelData cannot be read as text"),
        (CopyEdit("NoSuch", "PatientName"), "NoSuch is no element"),
        (RemoveEdit("StudyInstanceUID"), "StudyInstanceUID cannot be removed"),
        (RemoveEdit("PixelData"), "PixelData cannot be removed"),
    ],
)
def test_an_edit_that_can_never_work_is_refused_at_the_start(edit: Edit, word: str) -> None:
    [sentence] = check_transform(make_route(plain=True, edit=(edit,)))
    assert sentence.startswith("route r: edit: ")
    assert word in sentence


def test_a_route_is_checked_in_all_its_steps() -> None:
    wanted = Deidentify("basic", frozenset({"clean-pixel-data"}), ())
    route = Route("r", When(), None, {"X": None, "PatientID": "("}, wanted, (), (Target("FAR"),), ())
    said = check_transform(route)
    assert [sentence.split(":")[1].strip() for sentence in said[:2]] == ["require", "require"]
    assert "clean-pixel-data is refused" in said[2]
    assert (
        check_transform(
            make_route("clean-descriptors", pseudonyms=("PatientID",), edit=(setting("InstitutionName", "M"),))
        )
        == ()
    )


# Instances that others made --------------------------------------------------------------------------------


def collect_samples() -> list[Path]:
    """The instances that the library brings along: of scanners, of toolkits, broken ones too."""
    return sorted((Path(pydicom.__file__).parent / "data").glob("**/*.dcm"))


def test_instances_that_others_made_pass_with_all_their_elements_and_pixels(tmp_path: Path) -> None:
    passed = 0
    for source in collect_samples():
        target = tmp_path / "out.dcm"
        target.unlink(missing_ok=True)
        result = transform(source, target, make_route(plain=True, edit=(setting("PatientComments", "x"),)), KEY)
        if isinstance(result, Quarantine):
            assert "failed" not in result.reason, source.name
            continue
        passed += 1
        before, after = dcmread(source), dcmread(target)
        before.pop("PatientComments", None)
        assert after.PatientComments == "x"
        del after["PatientComments"]
        assert [element for element in before if after.get(element.tag) != element] == []
        assert len(before) == len(after)
    assert passed >= 75


def test_instances_that_others_made_leave_without_their_patients(tmp_path: Path) -> None:
    passed = 0
    options = ("clean-descriptors", "clean-structured-content", "clean-graphics", "retain-safe-private")
    for source in collect_samples():
        for route in (make_route(), make_route(*options, pseudonyms=("PatientID",))):
            target = tmp_path / "out.dcm"
            target.unlink(missing_ok=True)
            result = transform(source, target, route, KEY)
            if isinstance(result, Quarantine):
                assert "failed" not in result.reason, source.name
                continue
            passed += 1
            before, after = dcmread(source), dcmread(target)
            texts = [str(before.get("PatientID", "")), *str(before.get("PatientName", "")).split("^")]
            pixels = after.get("PixelData", b"")
            assert len(pixels) == len(before.get("PixelData", b""))
            if pixels != before.get("PixelData", b""):  # comments of code streams, which test_pixels has read by others
                changed = [at for at, byte in enumerate(before.PixelData) if pixels[at] != byte]
                assert len(changed) < 64
                assert not any(pixels[at] for at in changed)
            written = target.read_bytes().replace(pixels or b"\0none\0", b"")
            assert not [text for text in texts if len(text) > 3 and text.encode() in written], source.name
    assert passed >= 54


def test_what_stands_behind_a_second_pixel_element_is_not_left_out_in_silence(tmp_path: Path) -> None:
    """T74, T75: quarantined, since what would go out is not what came in."""
    source = write(tmp_path / "in.dcm", make_ct())
    data = source.read_bytes()
    source.write_bytes(data + data[data.rindex(b"\xe0\x7f\x10\x00OW") :])
    result = transform(source, tmp_path / "out.dcm", make_route(plain=True, edit=(setting("StationName", "X"),)), KEY)
    assert result == Quarantine("it has pixel data twice")
    assert not (tmp_path / "out.dcm").exists()
