"""Required elements and edits of elements, both by keyword; nothing here says a value aloud."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydicom.charset import convert_encodings
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.valuerep import validate_value

from fleet.relay.values import CopyEdit, Edit, Element, RemoveEdit, SetEdit

# What an instance is known by or its bytes are read by: an edit of these makes another or an unreadable instance.
_FIXED: Final = frozenset(
    (
        "SOPClassUID",
        "SOPInstanceUID",
        "SpecificCharacterSet",
        "PixelData",
        "FloatPixelData",
        "DoubleFloatPixelData",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "NumberOfFrames",
    )
)
_NEEDED: Final = frozenset({"StudyInstanceUID", "SeriesInstanceUID"})
_TEXTS: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)
_INTEGERS: Final = frozenset({"SL", "SS", "SV", "UL", "US", "UV"})
_FLOATS: Final = frozenset({"FD", "FL"})
_ONE_TEXT: Final = frozenset({"LT", "ST", "UR", "UT"})  # a backslash is a letter there (PS3.5 table 6.2-1)
_WITH_CHARSET: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_LONGEST_MATCHED: Final = 1024


class CannotEditError(Exception):
    """An instance that lacks something or cannot be edited; the message holds no value of it."""


def check_require(require: Mapping[str, str | None]) -> Iterator[str]:
    """What of the required elements cannot be asked for."""
    for keyword, pattern in require.items():
        if tag_for_keyword(keyword) is None:
            yield f"require: {keyword} is no element of PS3.6"
        try:
            re.compile(pattern or "")
        except re.error as error:
            yield f"require: the pattern of {keyword} is no regular expression: {error.msg}"


def check_edit(edits: Sequence[Edit]) -> Iterator[str]:
    """What of the edits cannot be done."""
    for edit in edits:
        changed = edit.to if isinstance(edit, CopyEdit) else edit.keyword
        if isinstance(edit, RemoveEdit):
            yield from _explain_known(changed)
            if changed in _FIXED | _NEEDED:
                yield f"edit: {changed} cannot be removed, an instance has to have it"
            continue
        yield from _explain_settable(changed)
        for keyword in _read_by(edit):
            yield from _explain_readable(keyword)


def require_elements(dataset: Dataset, require: Mapping[str, str | None]) -> None:
    """Raises `CannotEditError` for the first required element that is missing, empty or not of its pattern."""
    for keyword, pattern in require.items():
        text = read_text(dataset, keyword)
        if not text:
            raise CannotEditError(f"{keyword} is required and missing or empty")
        if pattern is None:
            continue
        if len(text) > _LONGEST_MATCHED:
            raise CannotEditError(f"{keyword} is required to match a pattern and longer than {_LONGEST_MATCHED}")
        if not re.fullmatch(pattern, text):
            raise CannotEditError(f"{keyword} does not match the pattern that is required")


def edit_elements(dataset: Dataset, edits: Sequence[Edit]) -> None:
    """All edits, in their order, at the top of the data set. Raises `CannotEditError`."""
    for edit in edits:
        if isinstance(edit, RemoveEdit):
            if edit.keyword in dataset:
                del dataset[edit.keyword]
        elif isinstance(edit, SetEdit):
            _set(dataset, edit.keyword, "".join(_fill(dataset, edit, part) for part in edit.parts))
        else:
            _set(dataset, edit.to, _read_present(dataset, edit.keyword, edit.to))


def read_text(dataset: Dataset, keyword: str) -> str:
    """An element's values as text, joined by backslashes; empty where it is missing."""
    if keyword not in dataset:
        return ""
    value = dataset[keyword].value
    if value is None:
        return ""
    values = value if isinstance(value, MultiValue | list) else [value]
    return "\\".join(str(each) for each in values).strip(" \0")


def _set(dataset: Dataset, keyword: str, text: str) -> None:
    vr = str(dictionary_VR(keyword))
    texts = [text] if vr in _ONE_TEXT else text.split("\\")
    if text and not _fits(dictionary_VM(keyword), len(texts)):
        raise CannotEditError(f"{keyword} would have {len(texts)} values and has to have {dictionary_VM(keyword)}")
    values = [_parse(keyword, vr, each) for each in texts] if text else []
    if vr in _WITH_CHARSET:
        _check_charset(dataset, keyword, text)
    value = None if not values else values[0] if len(values) == 1 else values
    dataset[keyword] = DataElement(Tag(keyword), vr, value)


def _parse(keyword: str, vr: str, text: str) -> Any:
    try:
        if vr in _INTEGERS:
            number: Any = int(text)
        elif vr in _FLOATS:
            number = float(text)
        else:
            number = text
        validate_value(vr, number, RAISE)
    except (ValueError, OverflowError):
        raise CannotEditError(f"what {keyword} would be set to is no value of {vr} (PS3.5 table 6.2-1)") from None
    if vr in _TEXTS - {"LT", "ST", "UT"} and any(ord(letter) < 0x20 for letter in text):
        raise CannotEditError(f"what {keyword} would be set to has control characters")
    return number


def _check_charset(dataset: Dataset, keyword: str, text: str) -> None:
    """A text that the instance's character set cannot hold; without one, it is given one that holds ASCII as before."""
    if text.isascii():
        return
    if not read_text(dataset, "SpecificCharacterSet"):
        dataset.SpecificCharacterSet = "ISO_IR 100" if _is_latin(text) else "ISO_IR 192"
        return
    encodings = [each for each in _encodings(dataset) if each]
    if not any(_encodes(text, each) for each in encodings):
        raise CannotEditError(f"what {keyword} would be set to is not in the instance's SpecificCharacterSet")


def _encodings(dataset: Dataset) -> list[str]:
    charset = dataset.SpecificCharacterSet
    return list(convert_encodings(charset if isinstance(charset, str) else list(charset)))


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True


def _is_latin(text: str) -> bool:
    return _encodes(text, "latin-1")


def _fits(vm: str, count: int) -> bool:
    """Whether so many values may stand in an element; `2-2n` and the like by their least number."""
    least, _, most = vm.partition("-")
    if not most:
        return count == int(least)
    return count >= int(least) and (not most.isdigit() or count <= int(most))


def _fill(dataset: Dataset, edit: SetEdit, part: Any) -> str:
    return _read_present(dataset, part.keyword, edit.keyword) if isinstance(part, Element) else str(part.text)


def _read_present(dataset: Dataset, keyword: str, target: str) -> str:
    text = read_text(dataset, keyword)
    if not text:
        raise CannotEditError(f"{target} is to be set from {keyword}, which is missing or empty")
    return text


def _read_by(edit: SetEdit | CopyEdit) -> list[str]:
    if isinstance(edit, CopyEdit):
        return [edit.keyword]
    return [part.keyword for part in edit.parts if isinstance(part, Element)]


def _explain_known(keyword: str) -> Iterator[str]:
    if tag_for_keyword(keyword) is None:
        yield f"edit: {keyword} is no element of PS3.6"


def _explain_settable(keyword: str) -> Iterator[str]:
    tag = tag_for_keyword(keyword)
    if tag is None:
        yield f"edit: {keyword} is no element of PS3.6"
    elif keyword in _FIXED or Tag(tag).group < 0x0008:
        yield f"edit: {keyword} cannot be set, the instance is known or read by it"
    elif dictionary_VR(tag) not in _TEXTS | _INTEGERS | _FLOATS:
        yield f"edit: {keyword} cannot be set, it is of VR {dictionary_VR(tag)}"


def _explain_readable(keyword: str) -> Iterator[str]:
    tag = tag_for_keyword(keyword)
    if tag is None:
        yield f"edit: {keyword} is no element of PS3.6"
    elif dictionary_VR(tag) not in _TEXTS | _INTEGERS | _FLOATS:
        yield f"edit: {keyword} cannot be read as text, it is of VR {dictionary_VR(tag)}"
