"""Questions about one element: what it is, what it holds, what it is called in a message."""

from typing import Any, Final

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

BINARY: Final = frozenset(
    ("AT", "FD", "FL", "OB", "OD", "OF", "OL", "OV", "OW", "SL", "SS", "SV", "UL", "UN", "US", "UV")
)


class CannotDeidentifyError(Exception):
    """An instance that must not go on; the message holds no value of it."""


def read_vr(dataset: Dataset, tag: BaseTag) -> str:
    """What an element is: the dictionary's word, where that is one; a file may call any element UN (PS3.5 6.2.2)."""
    stated = dataset.get_item(tag).VR
    try:
        known = dictionary_VR(tag)
    except KeyError:
        return str(stated or "UN")
    # Implicit VR states none: any of those that it may be is binary.
    return str(stated or known.split()[0]) if " or " in known else str(known)


def read_items(dataset: Dataset, tag: BaseTag) -> Sequence:
    """The items of a sequence. Raises `CannotDeidentifyError` for what is none."""
    value = dataset[tag].value
    if value is None or isinstance(value, bytes):
        if value:
            raise CannotDeidentifyError(f"{format_name(tag)} is no sequence, as it has to be")
        return Sequence()
    if not isinstance(value, Sequence):
        raise CannotDeidentifyError(f"{format_name(tag)} is no sequence, as it has to be")
    return value


def read_texts(element: DataElement) -> list[str]:
    """The values of an element as text, none for an empty one."""
    value = element.value
    if value is None:
        return []
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    return [each.decode("latin-1") if isinstance(each, bytes) else str(each) for each in values]


def read_number(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """A whole number of the data set. Raises `CannotDeidentifyError` where it is missing or none."""
    value: Any = dataset.get(keyword)
    if value in (None, "") and default is not None:
        return default
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise CannotDeidentifyError(f"{keyword} is missing or no number, so the pixels cannot be measured")
    return number


def format_name(tag: BaseTag) -> str:
    """An element as a message names it."""
    return keyword_for_tag(tag) or str(tag)
