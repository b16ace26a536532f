"""A name in every element of PS3.6, and between the elements: none leaves. # T74"""

import os
import struct
from pathlib import Path

import pytest
from pydicom.datadict import DicomDictionary, dictionary_VR

from fleet.relay.transform.steps import transform
from fleet.relay.transform.table import COLUMNS
from fleet.relay.values import Quarantine
from tests.relay.deidentified import deidentified, reason
from tests.relay.instances import CT, KEY, PIXELS, make_ct, make_route, write

NAME = b"QUILLFEATHER^QUENTIN"
STEP = 1 if os.environ.get("FLEET_SOAK") else 25
LONG = frozenset({b"OB", b"OW", b"UT", b"UC", b"UR", b"UN", b"SQ", b"OD", b"OF", b"OL", b"OV", b"SV", b"UV"})
BEARERS = {"patient": 0x00100010, "other": 0x00081070}
KEPT = {0x00100010, 0x00081070, 0x00080016, 0x00080018, 0x7FE00010}  # what the instance is made of
TAGS = [tag for tag in sorted(DicomDictionary) if tag not in KEPT and tag >> 16 != 2 and dictionary_VR(tag) != "NONE"]
# All that keep or clean, but for institutions, whose names may be those of people.
OPTIONS = tuple(sorted(set(COLUMNS) - {"retain-institution-identity", "retain-longitudinal-modified-dates"}))


def element(tag: int, vr: bytes, value: bytes, is_implicit: bool) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    if is_implicit:
        return head + struct.pack("<L", len(value)) + value
    size = b"\0\0" + struct.pack("<L", len(value)) if vr in LONG else struct.pack("<H", len(value))
    return head + vr + size + value


def data_set(bearer: str, tag: int, vr: bytes, is_implicit: bool) -> bytes:
    value = NAME
    if vr == b"SQ":
        item = element(0x00080070, b"LO", NAME, is_implicit)
        value = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(item)) + item
    elements = {
        0x00080016: (b"UI", CT.encode() + b"\0"), 0x00080018: (b"UI", b"1.2.3.4.5.6.7\0"),
        0x00100010: (b"PN", b"SOME^BODY "), 0x00100020: (b"LO", b"NUM5"), 0x0020000D: (b"UI", b"1.2.3.4.5\0"),
        0x0020000E: (b"UI", b"1.2.3.4.5.6\0"), 0x00280010: (b"US", b"\x20\0"), 0x00280011: (b"US", b"\x20\0"),
        0x00280100: (b"US", b"\x10\0"), 0x7FE00010: (b"OW", PIXELS),
        BEARERS[bearer]: (b"PN", NAME), tag: (vr, value),
    }  # fmt: skip
    return b"".join(element(tag, *elements[tag], is_implicit) for tag in sorted(elements))


@pytest.mark.parametrize("stated", ["own", "UN", "LO", "implicit"])
@pytest.mark.parametrize("bearer", sorted(BEARERS))
@pytest.mark.parametrize("options", [(), OPTIONS], ids=["profile", "options"])
def test_no_element_that_is_known_is_a_hiding_place(
    bearer: str, stated: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    """Devices' names, which an option keeps, and numbers in Implicit VR that may be of two kinds were, once."""
    syntax = "1.2.840.10008.1.2" if stated == "implicit" else "1.2.840.10008.1.2.1"
    source, target = write(tmp_path / "in.dcm", make_ct(), syntax), tmp_path / "out.dcm"
    made = source.read_bytes()
    head, leaks = made[: 144 + int.from_bytes(made[140:144], "little")], []
    for tag in TAGS[::STEP]:
        vr = (dictionary_VR(tag).split()[0] if stated in {"own", "implicit"} else stated).encode()
        source.write_bytes(head + data_set(bearer, tag, vr, stated == "implicit"))
        target.unlink(missing_ok=True)
        result = transform(source, target, make_route(*options), KEY)
        if not isinstance(result, Quarantine) and b"quillfeather" in target.read_bytes().lower():
            leaks.append(f"{tag:08X}")
    assert leaks == []


@pytest.mark.parametrize("keyword", ["ZeroVelocityPixelValue", "DarkCurrentCounts", "SmallestImagePixelValue"])
def test_a_number_of_one_of_two_kinds_is_looked_through_in_implicit_vr(keyword: str, tmp_path: Path) -> None:
    tag = next(tag for tag, row in DicomDictionary.items() if row[4] == keyword)
    source = write(tmp_path / "in.dcm", make_ct(), "1.2.840.10008.1.2")
    made = source.read_bytes()
    source.write_bytes(made[: 144 + int.from_bytes(made[140:144], "little")] + data_set("patient", tag, b"OB", True))
    result = transform(source, tmp_path / "out.dcm", make_route(), KEY)
    assert isinstance(result, Quarantine)
    assert result.reason.startswith(f"{keyword} is kept by the profile and ")


def test_what_an_option_keeps_of_devices_goes_where_it_names_somebody(tmp_path: Path) -> None:
    more = {"OperatorsName": "Quillfeather^Quentin", "InstitutionName": "Brobdingnag General"}
    for text in ("PLANTED CT", "Quentin Quillfeather", "Brobdingnag General 2"):
        found = deidentified(tmp_path, make_ct(StationName=text, **more), "retain-device-identity")
        assert found.StationName == "ANONYMIZED"
    assert deidentified(tmp_path, make_ct(StationName="CT_ER", **more), "retain-device-identity").StationName == "CT_ER"


def test_a_place_may_have_a_word_of_the_patients_name_but_not_the_name(tmp_path: Path) -> None:
    option = "retain-institution-identity"
    assert deidentified(tmp_path, make_ct(InstitutionName="Planted Clinic"), option).InstitutionName == "Planted Clinic"
    assert deidentified(tmp_path, make_ct(InstitutionName="for Name, Planted"), option).InstitutionName == "ANONYMIZED"


def test_names_of_other_people_and_of_institutions_stop_a_kept_text(tmp_path: Path) -> None:
    kept = "SoftwareVersions is kept by the profile and holds"
    more = {"PerformingPhysicianName": "Philips^Zyxomma", "InstitutionName": "Brobdingnag General"}
    said = reason(tmp_path, make_ct(SoftwareVersions="for Zyxomma Philips", **more))
    assert said == f"{kept} the name of another person"
    assert reason(tmp_path, make_ct(SoftwareVersions="at Brobdingnag General, 2", **more)) == (
        f"{kept} the name of an institution"
    )


@pytest.mark.parametrize(
    "more",
    [
        {"OperatorsName": "Philips^Jan", "Manufacturer": "Philips Medical Systems"},
        {"OperatorsName": "ADMIN", "SoftwareVersions": "admin 2.1"},
        {"InstitutionName": "GE Medical Systems", "Manufacturer": "GE MEDICAL SYSTEMS"},
        {"InstitutionName": "Radiology", "SoftwareVersions": "Radiology 7"},
    ],
)
def test_what_is_common_to_makers_and_people_stops_nothing(more: dict[str, str], tmp_path: Path) -> None:
    assert deidentified(tmp_path, make_ct(**more))


# Between the elements, with a name that the header does not tell -----------------------------------------------

HIDDEN = b"Brobdingnag "
OPEN = 0x00082218  # a sequence that the profile walks into
PRIVATE = 0x00090010


def explicit(tag: int, vr: bytes, value: bytes = HIDDEN) -> bytes:
    return element(tag, vr, value, False)


def undefined(tag: int, content: bytes, vr: bytes = b"SQ", behind: bytes = b"") -> bytes:
    """A sequence of one item, both without lengths (PS3.5 7.5)."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + b"\0\0\xff\xff\xff\xff"
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + content + b"\xfe\xff\x0d\xe0\0\0\0\0"
    return head + item + b"\xfe\xff\xdd\xe0" + struct.pack("<L", len(behind)) + behind


COMMENT = explicit(0x00104000, b"LT")
WITHIN = {
    "private sequence": explicit(PRIVATE, b"LO", b"X ") + undefined(0x00091001, COMMENT),
    "private sequence as UN": explicit(PRIVATE, b"LO", b"X ")
    + undefined(0x00091001, element(0x00104000, b"", HIDDEN, True), b"UN"),
    "open sequence": undefined(OPEN, COMMENT),
    "open sequence as UN": undefined(OPEN, element(0x00104000, b"", HIDDEN, True), b"UN"),
    "private in an item": undefined(OPEN, explicit(PRIVATE, b"LO") + explicit(0x00091001, b"LO")),
    "behind a delimiter": undefined(OPEN, b"", behind=HIDDEN),
    "document in an item": undefined(OPEN, explicit(0x00420011, b"OB")),
    "icon": undefined(0x00880200, explicit(0x7FE00010, b"OW")),
    "waveform annotation": undefined(0x0040B020, explicit(0x00700006, b"ST")),
    "structured content": undefined(0x0040A730, explicit(0x0040A160, b"UT")),
    "structured display": undefined(0x00720424, explicit(0x00700006, b"ST")),
    "group length": explicit(0x00080000, b"LO"),
    "character set": explicit(0x00080005, b"CS"),
    "odd low group": explicit(0x00030010, b"LO"),
    "a number of more values than it has": explicit(0x00189073, b"FD", HIDDEN + b"1234"),
    "behind a number": explicit(0x00280010, b"US", b"\x20\0" + HIDDEN),
    "curve": explicit(0x501E3000, b"OW"),
    "curve beyond the last": explicit(0x50FE3000, b"OW"),
    "overlay": explicit(0x60000022, b"LO") + explicit(0x60003000, b"OW"),
    "overlay beyond the last": explicit(0x60203000, b"OW"),
}
BEHIND = {
    "padding": explicit(0xFFFCFFFC, b"OB"),
    "signatures": undefined(0xFFFAFFFA, COMMENT),
    "private": explicit(0x7FE10010, b"LO"),
    "no element": HIDDEN,
    "a piece of one": HIDDEN[:7],
    "zeros": bytes(8) + HIDDEN,
}
META = {
    "private information": explicit(0x00020100, b"UI", b"1.2.3\0") + explicit(0x00020102, b"OB"),
    "titles": b"".join(explicit(tag, b"AE") for tag in (0x00020016, 0x00020017, 0x00020018)),
    "no element": HIDDEN,
}


@pytest.mark.parametrize(
    ("where", "place"),
    [(where, place) for where, places in (("in", WITHIN), ("behind", BEHIND), ("meta", META)) for place in places],
)
def test_a_name_that_no_header_tells_does_not_leave_from_where_no_name_belongs(
    where: str, place: str, tmp_path: Path
) -> None:
    within, behind, meta = WITHIN, BEHIND, META
    elements = data_set("patient", 0x00080060, b"CS", False).replace(NAME, b"SOME^BODYBODYBODYBODY"[:20])
    if where == "in":
        tag = struct.unpack("<HH", within[place][:4])
        at = find_place(elements, tag[0] << 16 | tag[1])
        old = elements[at : at + 4] == within[place][:4]
        elements = elements[:at] + within[place] + elements[at + (10 if old else 0) :]
    source, target = write(tmp_path / "in.dcm", make_ct()), tmp_path / "out.dcm"
    made = source.read_bytes()
    information = made[144 : 144 + int.from_bytes(made[140:144], "little")] + (meta[place] if where == "meta" else b"")
    head = HIDDEN * 10 + bytes(8) + made[128:140] + struct.pack("<L", len(information)) + information
    source.write_bytes(head + elements + (behind[place] if where == "behind" else b""))
    result = transform(source, target, make_route(), KEY)
    if not isinstance(result, Quarantine):
        assert HIDDEN.strip().lower() not in target.read_bytes().lower()
    else:
        assert "robdingnag" not in result.reason


def find_place(elements: bytes, tag: int) -> int:
    """Where an element belongs; where it is, if it is there."""
    at = 0
    while at < len(elements):
        group, number = struct.unpack("<HH", elements[at : at + 4])
        if group << 16 | number >= tag:
            return at
        long = elements[at + 4 : at + 6] in LONG
        size = elements[at + 8 : at + 12] if long else elements[at + 6 : at + 8]
        at += (12 if long else 8) + int.from_bytes(size, "little")
    return at
