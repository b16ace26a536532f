"""The keywords of PS3.6 (table 6-1) and their tags, as plain data: whoever names an element can be told a slip."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files


def find_tag(keyword: str) -> int | None:
    """The tag of a keyword, 0x00100010 for PatientName; None for what PS3.6 does not know."""
    return read_keywords().get(keyword)


@cache
def read_keywords() -> Mapping[str, int]:
    """Every keyword with its tag, read once; from inside an archive as well."""
    text = files("fleet.dicom").joinpath("keywords.txt").read_text(encoding="ascii")
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {keyword: int(tag, 16) for keyword, tag in rows}
