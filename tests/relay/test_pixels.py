"""No planted name leaves in what is written beside the pixels, and the pixels stay what they were. # T74"""

import os
import struct
import subprocess
from collections.abc import Callable
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fleet.relay.transform.steps import transform
from fleet.relay.values import Quarantine, RemoveEdit, Transformed
from tests.relay.instances import KEY, make_ct, make_route, write

NAME = b"Quillfeather"
SIZE = 48
JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"
JPEG_PROGRESSIVE, J2K, RLE = "1.2.840.10008.1.2.4.55", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
ENCODERS = {
    JPEG_BASELINE: ("dcmcjpeg", "+eb"),
    JPEG_PROGRESSIVE: ("dcmcjpeg", "+ep"),
    JPEG_LOSSLESS: ("dcmcjpeg", "+e1"),
    JPEG_LS: ("dcmcjpls", "+el"),
    RLE: ("dcmcrle",),
}
DECODERS = {**dict.fromkeys((JPEG_BASELINE, JPEG_PROGRESSIVE, JPEG_LOSSLESS), "dcmdjpeg"), JPEG_LS: "dcmdjpls"}
SYNTAXES = (*ENCODERS, J2K)


def picture() -> bytes:
    return bytes((x * 5 + y * 3 + (x * y) % 17) % 200 + 20 for y in range(SIZE) for x in range(SIZE))


def image(pixels: bytes | None = None, frames: int = 1, **more: Any) -> Dataset:
    dataset = make_ct(PatientName="Some^Body", PatientID="NUMBER-5", StudyDescription="CT")
    dataset.Rows = dataset.Columns = SIZE
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation, dataset.NumberOfFrames = "MONOCHROME2", frames
    dataset.PixelData = picture() * frames if pixels is None else pixels
    dataset["PixelData"].VR = "OB"
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


@cache
def encoded(syntax: str) -> bytes:
    """A frame that a real encoder made."""
    if syntax == J2K:
        made = BytesIO()
        picture_ = Image.frombytes("L", (SIZE, SIZE), picture())
        picture_.save(made, "JPEG2000", no_jp2=True, irreversible=False, tile_size=(32, 32), comment="by somebody")
        return made.getvalue()
    with TemporaryDirectory() as folder:
        source, target = write(Path(folder) / "in.dcm", image()), Path(folder) / "out.dcm"
        subprocess.run([*ENCODERS[syntax], source, target], check=True, timeout=30)
        dataset = dcmread(target)
        return bytes(next(generate_frames(dataset.PixelData, number_of_frames=1)))


def decoded(path: Path, syntax: str) -> bytes:
    """All pixels, by a decoder that is not ours."""
    if syntax == J2K:
        frames = generate_frames(dcmread(path).PixelData, number_of_frames=int(dcmread(path).NumberOfFrames))
        return b"".join(Image.open(BytesIO(frame)).tobytes() for frame in frames)
    target = path.with_suffix(".plain")
    subprocess.run([DECODERS.get(syntax, "dcmdrle"), path, target], check=True, timeout=30)
    return bytes(dcmread(target).PixelData)


def capsule(syntax: str, *frames: bytes, **more: Any) -> Dataset:
    dataset = image(encapsulate(list(frames)), len(frames), **more)
    dataset["PixelData"].is_undefined_length = True
    return dataset


def sent(folder: Path, dataset: Dataset, syntax: str) -> Path | str:
    """The file that goes out, or why none does."""
    source, target = write(folder / "in.dcm", dataset, syntax), folder / "out.dcm"
    target.unlink(missing_ok=True)
    result = transform(source, target, make_route(), KEY)
    if isinstance(result, Quarantine):
        assert not target.exists()
        return result.reason
    return target


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">HH", marker, len(content) + 2) + content


# Where somebody's name may be written in a frame, beside its pixels -----------------------------------------


def at_front(marker: int, begin: bytes) -> Callable[[bytes, bytes], bytes]:
    return lambda frame, name: frame[:2] + segment(marker, begin + name) + frame[2:]


def behind(frame: bytes, name: bytes) -> bytes:
    return frame + name * 2


def before_scan(frame: bytes, name: bytes) -> bytes:
    at = frame.index(b"\xff\xda")
    return frame[:at] + b"\xff\xff" + segment(0xFFFE, name) + frame[at:]


JPEG_PLANTS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "comment": at_front(0xFFFE, b""),
    "exif": at_front(0xFFE1, b"Exif\0\0"),
    "xmp": at_front(0xFFE1, b"http://ns.adobe.com/xap/1.0/\0"),
    "icc": at_front(0xFFE2, b"ICC_PROFILE\0\1\1"),
    "photoshop": at_front(0xFFED, b"Photoshop 3.0\0"),
    "jfif thumbnail": at_front(0xFFE0, b"JFIF\0\1\1\0\0\1\0\1\2\2"),
    "jfxx": at_front(0xFFE0, b"JFXX\0\x10"),
    "adobe": at_front(0xFFEE, b"Adobe\0\x64\0\0\0\0\0"),
    "spiff entry": at_front(0xFFE8, b"\0\0\0\2"),
    "before the scan": before_scan,
    "behind the end": behind,
}


def in_main_header(frame: bytes, name: bytes) -> bytes:
    at = frame.index(b"\xff\x52")
    return frame[:at] + segment(0xFF64, b"\0\1" + name) + frame[at:]


def in_tile_part(frame: bytes, name: bytes) -> bytes:
    at, comment = frame.index(b"\xff\x90"), segment(0xFF64, b"\0\1" + name)
    length = int.from_bytes(frame[at + 6 : at + 10], "big") + len(comment)
    return frame[: at + 6] + length.to_bytes(4, "big") + frame[at + 10 : at + 12] + comment + frame[at + 12 :]


def in_unused_offsets(frame: bytes, name: bytes) -> bytes:
    return frame[:40] + name[:24].ljust(24, b"\0") + frame[64:]


PLANTS: dict[str, dict[str, Callable[[bytes, bytes], bytes]]] = {
    **dict.fromkeys((JPEG_BASELINE, JPEG_PROGRESSIVE, JPEG_LOSSLESS, JPEG_LS), JPEG_PLANTS),
    J2K: {"main header": in_main_header, "tile-part": in_tile_part, "behind the end": behind},
    RLE: {"unused offsets": in_unused_offsets, "behind the end": behind},
}
# dcmdjpls refuses these in what arrives already; there the scan has to be what it was.
UNREAD = {(JPEG_LS, place) for place in ("exif", "xmp", "icc", "photoshop", "adobe", "before the scan")}
CASES = [(syntax, place) for syntax in SYNTAXES for place in PLANTS[syntax]]


@pytest.mark.parametrize(("syntax", "place"), CASES)
def test_a_name_beside_the_pixels_of_a_frame_goes_and_the_pixels_stay(syntax: str, place: str, tmp_path: Path) -> None:
    planted = PLANTS[syntax][place](encoded(syntax), NAME)
    target = sent(tmp_path, capsule(syntax, encoded(syntax), planted, planted), syntax)
    assert isinstance(target, Path), target
    assert NAME.lower() not in target.read_bytes().lower()
    before, after = capsule(syntax, *[encoded(syntax)] * 3), dcmread(target)
    if (syntax, place) in UNREAD:
        for frame in generate_frames(after.PixelData, number_of_frames=3):
            assert scan(encoded(syntax)) in frame
    else:
        assert decoded(target, syntax) == decoded(write(tmp_path / "plain.dcm", before, syntax), syntax)


def scan(frame: bytes) -> bytes:
    return frame[frame.index(b"\xff\xda") :]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_frame_that_holds_nothing_but_pixels_is_not_changed_by_a_byte(syntax: str, tmp_path: Path) -> None:
    frame = encoded(syntax)
    if syntax == J2K:
        at = frame.index(b"\xff\x64")
        frame = frame[:at] + frame[at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big") :]
    dataset = capsule(syntax, frame, frame)
    target = sent(tmp_path, dataset, syntax)
    assert isinstance(target, Path), target
    assert dcmread(target).PixelData == dataset.PixelData


@settings(
    deadline=None,
    max_examples=3000 if os.environ.get("FLEET_SOAK") else 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    syntax=st.sampled_from(SYNTAXES),
    places=st.lists(
        st.tuples(st.integers(0, 20), st.sampled_from([NAME, b"ZYXOMMA^Brobdingnag", NAME * 9])), max_size=6
    ),
    pieces=st.integers(1, 3),
    data=st.data(),
)
def test_no_planted_name_is_in_the_bytes_of_any_compressed_instance(
    syntax: str, places: list[tuple[int, bytes]], pieces: int, data: st.DataObject, tmp_path: Path
) -> None:
    """Several at once, in frames of one fragment or more, wherever their borders lie."""
    frame = encoded(syntax)
    for number, name in places:
        plants = list(PLANTS[syntax].values())
        frame = plants[number % len(plants)](frame, name)
    frame += b"\0" * (len(frame) % 2)
    parts = 1 if syntax == RLE else pieces
    cuts = sorted(2 * data.draw(st.integers(4, len(frame) // 2 - 1)) for _ in range(parts - 1))
    borders = [0, *sorted(set(cuts)), len(frame)]
    items = [frame[one:other] for one, other in pairwise(borders)]
    pixels = b"\xfe\xff\x00\xe0\0\0\0\0" + b"".join(
        b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item for item in items
    )
    dataset = image(pixels)
    dataset["PixelData"].is_undefined_length = True
    target = sent(tmp_path, dataset, syntax)
    if isinstance(target, str):  # such as an end of the frame in an earlier fragment than what was written behind it
        assert parts > 1, target
        assert target.startswith("PixelData "), target
        return
    written = target.read_bytes().lower()
    assert not [name for name in (b"quillfeather", b"zyxomma", b"brobdingnag") if name in written]


# Offset tables ----------------------------------------------------------------------------------------------


def test_an_offset_table_of_true_offsets_stays_and_a_name_in_its_place_goes(tmp_path: Path) -> None:
    dataset = capsule(JPEG_LS, encoded(JPEG_LS), encoded(JPEG_LS))
    target = sent(tmp_path, dataset, JPEG_LS)
    assert isinstance(target, Path)
    assert dcmread(target).PixelData == dataset.PixelData
    dataset.PixelData = dataset.PixelData.replace(dataset.PixelData[4:16], b"\x0c\0\0\0" + NAME)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    target = sent(tmp_path, dataset, JPEG_LS)
    assert isinstance(target, Path), target
    assert NAME not in target.read_bytes()
    assert dcmread(target).PixelData.startswith(b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0")
    assert decoded(target, JPEG_LS) == picture() * 2


def test_an_extended_offset_table_stays_where_it_is_one(tmp_path: Path) -> None:
    frame = encoded(JPEG_LS) + b"\0" * (len(encoded(JPEG_LS)) % 2)
    true = struct.pack("<2Q", 0, len(frame) + 8), struct.pack("<2Q", len(frame), len(frame))
    for (offsets, lengths), stays in ((true, True), ((NAME + b"1234", true[1]), False), ((true[0], NAME * 4), False)):
        more: dict[str, Any] = {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}
        dataset = image(encapsulate([frame, frame], has_bot=False), 2, **more)
        dataset["PixelData"].is_undefined_length = True
        target = sent(tmp_path, dataset, JPEG_LS)
        assert isinstance(target, Path), target
        assert ("ExtendedOffsetTable" in dcmread(target)) is stays
        assert NAME not in target.read_bytes()


# Native pixels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_what_stands_behind_the_last_row_of_native_pixels_goes(syntax: str, tmp_path: Path) -> None:
    target = sent(tmp_path, image(picture() * 2 + NAME * 8, 2), syntax)
    assert isinstance(target, Path), target
    assert dcmread(target).PixelData == picture() * 2 + bytes(len(NAME) * 8)


@pytest.mark.parametrize(("keyword", "bits"), [("FloatPixelData", 32), ("DoubleFloatPixelData", 64)])
def test_floating_pixels_are_measured_too(keyword: str, bits: int, tmp_path: Path) -> None:
    dataset = image(BitsAllocated=bits)
    del dataset.PixelData
    setattr(dataset, keyword, bytes(SIZE * SIZE * bits // 8) + NAME * 2)
    target = sent(tmp_path, dataset, ExplicitVRLittleEndian)
    assert isinstance(target, Path), target
    assert NAME not in target.read_bytes()


def test_whole_frames_more_than_the_header_says_are_not_blanked_but_stop_the_instance(tmp_path: Path) -> None:
    """What may be a picture is neither lost nor let out."""
    assert sent(tmp_path, image(picture() * 2, 1), ExplicitVRLittleEndian) == (
        "PixelData is longer by a frame than Rows, Columns and NumberOfFrames say"
    )


def test_native_pixels_that_are_too_few_pass_as_they_are(tmp_path: Path) -> None:
    target = sent(tmp_path, image(picture()[:-100]), ExplicitVRLittleEndian)
    assert isinstance(target, Path), target
    assert dcmread(target).PixelData == picture()[:-100]


@pytest.mark.parametrize("share", [2, 3])
def test_subsampled_colours_are_measured_as_they_are_written(share: int, tmp_path: Path) -> None:
    """PS3.3 C.7.6.3.1.2: two bytes a pixel; some write three nevertheless."""
    more: dict[str, Any] = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 0}
    target = sent(tmp_path, image(picture() * share + NAME, **more), ExplicitVRLittleEndian)
    assert isinstance(target, Path), target
    assert dcmread(target).PixelData == picture() * share + bytes(len(NAME))


# The last look ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hidden",
    [b"Quillfeather", b"QUILLFEATHER", "quillfeather".encode("utf-16-le"), "Quillfeather".encode("utf-16-be")],
)
@pytest.mark.parametrize("keyword", ["PatientName", "OperatorsName", "InstitutionName"])
@pytest.mark.parametrize("at", [0, 1500, (1 << 20) - 5])
def test_a_removed_value_among_the_pixels_themselves_stops_the_instance(
    hidden: bytes, keyword: str, at: int, tmp_path: Path
) -> None:
    pixels = bytearray(1100 * 1000)
    pixels[at : at + len(hidden)] = hidden
    dataset = image(bytes(pixels), 1, **{keyword: "Quillfeather"})
    dataset.Rows, dataset.Columns = 1100, 1000
    assert sent(tmp_path, dataset, ExplicitVRLittleEndian) == "PixelData holds a value that was removed from the header"


def test_video_is_looked_through_and_what_is_none_stops(tmp_path: Path) -> None:
    video = b"\0\0\1\xb3" + bytes(range(256)) * 3
    for syntax in ("1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.107"):
        dataset = capsule(syntax, video, PatientID="AB-123")
        assert isinstance(sent(tmp_path, dataset, syntax), Path)
        dataset = capsule(syntax, video + b"\0\0\1\xb2ab-123", PatientID="AB-123")
        assert sent(tmp_path, dataset, syntax) == "PixelData holds a value that was removed from the header"
        assert sent(tmp_path, capsule(syntax, NAME), syntax) == "PixelData does not begin as MPEG does"


@pytest.mark.parametrize(
    ("syntax", "frame"),
    [
        (JPEG_BASELINE, NAME),
        (JPEG_BASELINE, b"\xff\xd8\xff\xfe\xff\xff" + NAME),
        (JPEG_BASELINE, b"\xff\xd8\xff\xc0\x00\x0e" + NAME),
        (JPEG_BASELINE, b"\xff\xd8\xff\xda\x00\x08\1\1\0\0\x3f\0" + NAME),
        (JPEG_LS, b"\xff\xd8\xff\xf0\x00\x0e" + NAME),
        (J2K, b"\0\0\0\x0cjP  \r\n\x87\n" + NAME),
        (J2K, b"\xff\x4f\xff\x51\x00\x0e" + NAME),
        (RLE, NAME * 9),
    ],
)
def test_what_cannot_be_read_as_its_transfer_syntax_demands_stops(syntax: str, frame: bytes, tmp_path: Path) -> None:
    said = sent(tmp_path, capsule(syntax, frame), syntax)
    assert isinstance(said, str)
    assert said.startswith("PixelData ")


@pytest.mark.parametrize(
    ("syntax", "said"),
    [
        ("1.2.840.10008.1.2.4.110", "is of a transfer syntax that cannot be looked into"),  # JPEG XL
        ("1.2.840.10008.1.2.8.1", "is of a transfer syntax that cannot be looked into"),  # deflated frames
        ("1.2.3.4.5", "is of a transfer syntax that cannot be looked into"),
        ("1.2.840.10008.1.2.1", "is encapsulated or not, other than its transfer syntax says"),
    ],
)
def test_pixels_of_a_transfer_syntax_that_nobody_here_can_read_stop(syntax: str, said: str, tmp_path: Path) -> None:
    video = "1.2.840.10008.1.2.4.100"
    source = write(tmp_path / "in.dcm", capsule(video, b"\0\0\1\xb3"), video)
    source.write_bytes(source.read_bytes().replace(video.encode(), syntax.encode().ljust(len(video), b"\0"), 1))
    assert transform(source, tmp_path / "out.dcm", make_route(), KEY) == Quarantine(f"PixelData {said}")


def test_a_route_that_does_not_deidentify_passes_every_byte_of_the_pixels(tmp_path: Path) -> None:
    dataset = capsule(JPEG_LS, behind(JPEG_PLANTS["comment"](encoded(JPEG_LS), NAME), NAME))
    source, target = write(tmp_path / "in.dcm", dataset, JPEG_LS), tmp_path / "out.dcm"
    result = transform(source, target, make_route(plain=True, edit=(RemoveEdit("StudyDescription"),)), KEY)
    assert isinstance(result, Transformed)
    assert dcmread(target).PixelData == dataset.PixelData
