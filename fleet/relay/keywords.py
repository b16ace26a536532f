"""Keywords of PS3.6 and their tags, for those parts of the relay that read a header without a DICOM library."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files


def tag_of(keyword: str) -> int | None:
    """The tag of a keyword, 0x00100010 for PatientName; None for what PS3.6 does not know."""
    return _tags().get(keyword)


@cache
def _tags() -> Mapping[str, int]:
    """The table, read once; from inside an archive as well."""
    text = files("fleet.relay").joinpath("keywords.txt").read_text(encoding="ascii")
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {keyword: int(tag, 16) for keyword, tag in rows}
