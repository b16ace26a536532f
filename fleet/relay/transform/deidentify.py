"""De-identification by PS3.15 Annex E: one walk over a data set, every element by its row of table E.1-1.

It fails closed: an element that neither the table nor PS3.6 knows, pixels where none are expected, graphics hidden in
pixels, documents inside the object and a kept text that holds a word of the patient's identity all stop it. What it
says then names keywords and tags, never a value.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID_dictionary

from fleet.relay.transform.content import (
    UncleanableError,
    clean_code,
    clean_content,
    clean_graphics,
    is_code,
    make_dummy_items,
)
from fleet.relay.transform.elements import (
    BINARY,
    CannotDeidentifyError,
    format_name,
    read_items,
    read_texts,
    read_vr,
)
from fleet.relay.transform.identity import Identity, find_name, names_patient_fully, read_identity
from fleet.relay.transform.keys import Pseudonyms
from fleet.relay.transform.stand_ins import TEXTS, clean_text, make_dummy, shift_values
from fleet.relay.transform.table import (
    COLUMNS,
    OPTION_CODES,
    PROFILE_CODE,
    REFUSED_OPTIONS,
    Action,
    Row,
    find_row,
    read_safe_private,
)
from fleet.relay.values import Deidentify

PSEUDONYM_VRS: Final = frozenset({"LO", "SH", "PN", "UC"})
_DATES: Final = frozenset({"DA", "DT", "TM"})
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
# Screens and ultrasound: their pixels bear the name as a rule, and the flag is mostly absent (PS3.4 table B.5-1).
_SCREENS: Final = {
    "1.2.840.10008.5.1.4.1.1.3": "ultrasound",
    "1.2.840.10008.5.1.4.1.1.6": "ultrasound",
    "1.2.840.10008.5.1.4.1.1.7": "a secondary capture",
}
_PLACES: Final = frozenset({"institution"})
_TIMEZONE: Final = 0x00080201
_SIZES: Final = {"AT": 4, "FD": 8, "FL": 4, "SL": 4, "SS": 2, "SV": 8, "UL": 4, "US": 2, "UV": 8}
_CHARSET: Final = r"(?:ISO[ _-]?(?:2022|IR|8859)[ _-]*(?:IR)?[ _-]*[0-9]{0,3}|GB[K0-9]{1,5}|UTF[ _-]?8)?[ \0]*"
_PATTERNS: Final[dict[str | int, re.Pattern[str]]] = {
    0x00080005: re.compile(rf"{_CHARSET}(?:\\{_CHARSET})*", re.IGNORECASE),
    _TIMEZONE: re.compile(r"[+-]?[0-9]{0,4}[ \0]*"),
    "AS": re.compile(r"(?:[0-9]{3}[DWMY]?)?[ \0]*"),
    "DS": re.compile(r"[0-9+.eE\\ \0-]*"),
    "IS": re.compile(r"[0-9+.\\ \0-]*"),
    **dict.fromkeys(("DA", "DT", "TM"), re.compile(r"[0-9+:.\\ \0-]*")),
    "UI": re.compile(r"[0-9.\\ \0]*"),
}
_PATIENT_ID: Final = 0x00100020


@dataclass(slots=True)
class _Walk:
    """What one instance is cleaned by: the same at every depth."""

    columns: frozenset[str]
    pseudonyms: frozenset[int]
    keys: Pseudonyms
    days: int | None
    identity: Identity  # no cleaned text keeps a word of it, no kept text may hold one


def check_deidentify(wanted: Deidentify) -> Iterator[str]:
    """What of a configuration cannot be done, or not be done right."""
    if wanted.profile != "basic":
        yield f"the profile {wanted.profile!r} is not known; basic is"
    for option in sorted(wanted.options):
        if option in REFUSED_OPTIONS:
            yield f"the option {option} is refused: {REFUSED_OPTIONS[option]}"
        elif option not in COLUMNS:
            yield f"the option {option!r} is not known"
    if {"retain-longitudinal-full-dates", "retain-longitudinal-modified-dates"} <= wanted.options:
        yield "retain-longitudinal-full-dates and retain-longitudinal-modified-dates exclude one another"
    for keyword in wanted.pseudonyms:
        vr = _vr_of_keyword(keyword)
        if vr not in PSEUDONYM_VRS:
            yield f"{keyword} cannot hold a pseudonym ({vr or 'it is no element of PS3.6'}); LO, SH, PN and UC can"


def deidentify(dataset: Dataset, wanted: Deidentify, key: bytes) -> Identity:
    """Makes a data set de-identified, in place, and tells whom it named. Raises `CannotDeidentifyError`."""
    columns = frozenset(COLUMNS[option] for option in wanted.options)
    check_pixels(dataset)
    keys = Pseudonyms(key)
    walk = _Walk(
        columns=columns,
        pseudonyms=frozenset(int(Tag(keyword)) for keyword in wanted.pseudonyms),
        keys=keys,
        days=_days(dataset, keys) if "modified" in columns else None,
        identity=read_identity(dataset, columns),
    )
    try:
        _clean_dataset(dataset, walk, "")
    except UncleanableError as error:
        raise CannotDeidentifyError(str(error)) from None
    _mark(dataset, wanted)
    return walk.identity


def clean_tail(dataset: Dataset) -> None:
    """What follows the pixels: padding and signatures go (E.1-1), and nothing else is known to stand there."""
    for tag in list(dataset.keys()):
        if tag.is_private or int(tag) in {0xFFFCFFFC, 0xFFFAFFFA}:
            del dataset[tag]
        else:
            raise CannotDeidentifyError(f"{format_name(tag)} stands behind the pixel data")


def check_pixels(dataset: Dataset) -> None:
    """Raises `CannotDeidentifyError` where the pixels or a document may show who it is."""
    burned_in = str(dataset.get("BurnedInAnnotation", "") or "").strip().upper()
    if burned_in == "YES":
        raise CannotDeidentifyError("BurnedInAnnotation says that there is writing in the pixels")
    sop_class = f"{dataset.get('SOPClassUID', '')}."
    screen = next((name for uid, name in _SCREENS.items() if sop_class.startswith(f"{uid}.")), None)
    if screen and burned_in != "NO":
        raise CannotDeidentifyError(f"{screen} that does not say BurnedInAnnotation NO may show a name")
    if "PixelDataProviderURL" in dataset:
        raise CannotDeidentifyError("PixelDataProviderURL tells where the pixels are, which cannot be looked at")
    if "EncapsulatedDocument" in dataset:
        raise CannotDeidentifyError("EncapsulatedDocument holds a whole document, which cannot be cleaned")
    for group in range(0x6000, 0x6100, 2):
        if (group, 0x0010) in dataset and (group, 0x3000) not in dataset:
            raise CannotDeidentifyError("an overlay without OverlayData is hidden in unused bits of the pixels")


# The walk --------------------------------------------------------------------------------------------------


def _clean_dataset(dataset: Dataset, walk: _Walk, path: str) -> None:
    safe = _safe_private(dataset) if "private" in walk.columns else frozenset()
    for tag in list(dataset.keys()):
        if tag.is_private:
            if int(tag) not in safe:
                del dataset[tag]
        elif tag.group >> 8 in {0x50, 0x60} or tag.element == 0:
            # E.1-1: curves and overlays, a whole plane, since one without its data is invalid; retired group lengths.
            del dataset[tag]
        elif tag.group < 0x0008:  # PS3.5 7.1: of commands, files and directories, and of no data set
            del dataset[tag]
        else:
            _clean_element(dataset, tag, walk, path)


def _clean_element(dataset: Dataset, tag: BaseTag, walk: _Walk, path: str) -> None:
    vr = read_vr(dataset, tag)
    stated = dataset.get_item(tag).VR
    if (stated == "SQ") != (vr == "SQ") and stated not in {None, "UN"}:
        raise CannotDeidentifyError(f"{path}{format_name(tag)} is not of the kind that PS3.6 says, {vr}")
    row = find_row(int(tag), vr)
    if int(tag) in walk.pseudonyms:
        _set_pseudonym(dataset, tag, walk)
    elif row is None:
        _check_known(tag, path)
        if not _is_of_its_kind(dataset, tag):
            raise CannotDeidentifyError(f"{path}{format_name(tag)} is kept by the profile and is no value of {vr}")
        _keep(dataset, tag, walk, path)
        _check_text(dataset, tag, walk, path)
    else:
        _apply(dataset, tag, row, walk, path)


def _apply(dataset: Dataset, tag: BaseTag, row: Row, walk: _Walk, path: str) -> None:
    action = row.action(walk.columns)
    if action is Action.CLEAN and not _clean(dataset, tag, walk, path):
        action = row.fallback
    if action is Action.KEEP and not _is_safe_to_keep(dataset, tag, row, walk):
        action = row.fallback
    if action is Action.KEEP or action is Action.UIDS_INSIDE:
        _keep(dataset, tag, walk, path)
    elif action is Action.REMOVE:
        del dataset[tag]
    elif action is Action.EMPTY:
        vr = read_vr(dataset, tag)
        dataset[tag] = DataElement(tag, vr, Sequence() if vr == "SQ" else None)
    elif action is Action.UID:
        _map_uids(dataset, tag, walk)
    elif action is Action.DUMMY:
        _set_dummy(dataset, tag, row, walk)


def _keep(dataset: Dataset, tag: BaseTag, walk: _Walk, path: str) -> None:
    """Unchanged for a plain element, cleaned item by item for a sequence (PS3.15 E.3, action K)."""
    vr = read_vr(dataset, tag)
    where = f"{path}{format_name(tag)}"
    if int(tag) in _PIXELS:
        raise CannotDeidentifyError(f"{where}: pixels inside a sequence cannot be looked at")
    if vr == "SQ":
        for item in read_items(dataset, tag):
            _clean_item(item, walk, f"{where} > ")


def _is_of_its_kind(dataset: Dataset, tag: BaseTag) -> bool:
    """Whether a kept number, time or UID is written as one: it may have been misused for a text."""
    vr = read_vr(dataset, tag)
    if vr in BINARY and dataset.get_item(tag).VR not in {None, *BINARY}:
        return False
    if vr in _SIZES and _is_longer(dataset, tag, _SIZES[vr]):
        return False
    pattern = _PATTERNS.get(int(tag), _PATTERNS.get(vr))
    if pattern is None:
        return True
    value = dataset.get_item(tag).value
    texts = [value.decode("latin-1")] if isinstance(value, bytes) else read_texts(dataset[tag])
    return all(pattern.fullmatch(text) for text in texts)


def _is_longer(dataset: Dataset, tag: BaseTag, size: int) -> bool:
    """Whether there is room behind as many numbers as an element has."""
    value, count = dataset.get_item(tag).value, dictionary_VM(tag).rpartition("-")[2]
    return isinstance(value, bytes) and count.isdigit() and len(value) > size * int(count)


def _is_safe_to_keep(dataset: Dataset, tag: BaseTag, row: Row, walk: _Walk) -> bool:
    """Whether what an option keeps is what it is meant to be. Places may bear names of saints, so of patients too."""
    if not _is_of_its_kind(dataset, tag):
        return False
    is_place = any(row.options.get(column) == "K" for column in walk.columns & _PLACES)
    if is_place:
        return not names_patient_fully(dataset[tag], walk.identity)
    return find_name(dataset, tag, walk.identity) is None


def _check_text(dataset: Dataset, tag: BaseTag, walk: _Walk, path: str) -> None:
    """What the profile leaves alone may have been misused for a name."""
    named = find_name(dataset, tag, walk.identity)
    if named is not None:
        raise CannotDeidentifyError(f"{path}{format_name(tag)} is kept by the profile and holds {named}")


def _clean_item(item: Dataset, walk: _Walk, path: str) -> None:
    if is_code(item):
        clean_code(item, walk.identity.people)
    _clean_dataset(item, walk, path)


def _clean(dataset: Dataset, tag: BaseTag, walk: _Walk, path: str) -> bool:
    """Whether an element could be cleaned (C); False: the profile's own action is the way."""
    vr, keyword = read_vr(dataset, tag), keyword_for_tag(tag)
    if vr in _DATES:
        return _shift(dataset, tag, vr, walk)
    if vr == "SQ":
        return _clean_sequence(dataset, tag, walk, f"{path}{keyword} > ")
    if vr not in TEXTS:
        return False
    cleaned = [clean_text(text, walk.identity.people, vr) for text in read_texts(dataset[tag])]
    if not any(cleaned):
        return False
    dataset[tag] = DataElement(tag, vr, cleaned if len(cleaned) > 1 else cleaned[0])
    return True


def _clean_sequence(dataset: Dataset, tag: BaseTag, walk: _Walk, path: str) -> bool:
    items, keyword = read_items(dataset, tag), keyword_for_tag(tag)
    if keyword == "GraphicAnnotationSequence":
        kept = clean_graphics(items)
    elif "content" in walk.columns and keyword in {
        "ContentSequence",
        "AcquisitionContextSequence",
        "SpecimenPreparationSequence",
    }:
        kept = list(_clean_contents(items, walk))
    else:
        kept = list(items)
    for item in kept:
        _clean_item(item, walk, path)
    dataset[tag] = DataElement(tag, "SQ", Sequence(kept))
    return bool(kept)


def _clean_contents(items: Sequence, walk: _Walk) -> Iterator[Dataset]:
    for item in items:
        if "ReferencedContentItemIdentifier" in item:
            raise UncleanableError("ContentSequence refers to its items by number, which cleaning would change")
        if clean_content(item, walk.columns, walk.identity.people):
            for steps in item.get("SpecimenPreparationStepContentItemSequence", ()):
                if not clean_content(steps, walk.columns, walk.identity.people):
                    raise UncleanableError(
                        "SpecimenPreparationStepContentItemSequence holds a code of no public scheme"
                    )
            yield item


def _shift(dataset: Dataset, tag: BaseTag, vr: str, walk: _Walk) -> bool:
    if walk.days is None:
        return False
    shifted = shift_values(vr, read_texts(dataset[tag]), walk.days)
    if shifted is None:
        return False
    dataset[tag] = DataElement(tag, vr, shifted if len(shifted) > 1 else "".join(shifted))
    return True


def _map_uids(dataset: Dataset, tag: BaseTag, walk: _Walk) -> None:
    mapped = [_map_uid(text, walk.keys) for text in read_texts(dataset[tag])]
    dataset[tag] = DataElement(tag, "UI", mapped if len(mapped) > 1 else "".join(mapped))


def _map_uid(uid: str, keys: Pseudonyms) -> str:
    """Well-known UIDs (PS3.6 annex A: frames of reference of atlases, SOP classes) name no instance."""
    text = uid.strip(" \0")
    return text if not text or text in UID_dictionary else keys.uid(text)


def _set_dummy(dataset: Dataset, tag: BaseTag, row: Row, walk: _Walk) -> None:
    vr = read_vr(dataset, tag)
    if vr == "SQ":
        items = make_dummy_items(row.keyword, read_items(dataset, tag), lambda uid: _map_uid(uid, walk.keys))
        dataset[tag] = DataElement(tag, "SQ", Sequence(items))
    elif vr == "UI":
        _map_uids(dataset, tag, walk)
    elif int(tag) == _PATIENT_ID:
        _set_pseudonym(dataset, tag, walk)  # one dummy for all would make all patients one in the archive
    else:
        count = dictionary_VM(tag).partition("-")[0]
        dataset[tag] = DataElement(tag, vr, make_dummy(vr, int(count) if count.isdigit() else 1))


def _set_pseudonym(dataset: Dataset, tag: BaseTag, walk: _Walk) -> None:
    vr, keyword = read_vr(dataset, tag), keyword_for_tag(tag)
    stand_ins = [walk.keys.text(keyword, text) if text.strip(" \0") else "" for text in read_texts(dataset[tag])]
    dataset[tag] = DataElement(tag, vr, stand_ins if len(stand_ins) > 1 else "".join(stand_ins))


def _safe_private(dataset: Dataset) -> frozenset[int]:
    """The private elements of a data set that may stay, with their creators (PS3.5 7.8.1)."""
    kept: set[int] = set()
    for tag in list(dataset.keys()):
        if not tag.is_private or tag.element < 0x1000:
            continue
        creator = Tag(tag.group, tag.element >> 8)
        name = str(dataset[creator].value).strip(" \0") if creator in dataset else ""
        safe = read_safe_private().get((name, tag.group, tag.element & 0xFF))
        if safe is not None and _is_numeric(dataset.get_item(tag), safe.vr, safe.most):
            kept |= {int(tag), int(creator)}
    return frozenset(kept)


def _is_numeric(element: Any, vr: str, most: int) -> bool:
    """Whether a private value is what the table says it is, and so no text."""
    sizes = {"FL": 4, "FD": 8, "SS": 2, "US": 2, "SL": 4, "UL": 4}
    value = element.value
    if isinstance(value, bytes):
        if vr in sizes:
            return element.VR in {vr, "UN", None} and len(value) in {sizes[vr] * count for count in range(1, most + 1)}
        return all(_is_number(part) for part in value.decode("latin-1").split("\\"))
    return False


def _is_number(text: str) -> bool:
    try:
        float(text.strip(" \0"))
    except ValueError:
        return False
    return not any(letter.isalpha() and letter not in "eE" for letter in text)


# Questions about elements ----------------------------------------------------------------------------------


def _check_known(tag: BaseTag, path: str) -> None:
    try:
        dictionary_VR(tag)
    except KeyError:
        raise CannotDeidentifyError(f"{path}{tag} is no element of PS3.6 that is known here") from None
    if tag.group in range(0x7F00, 0x7FE0):
        raise CannotDeidentifyError(f"{path}{tag} holds retired pixel data")


def _vr_of_keyword(keyword: str) -> str | None:
    try:
        return str(dictionary_VR(keyword))
    except (KeyError, ValueError, TypeError):
        return None


def _days(dataset: Dataset, keys: Pseudonyms) -> int:
    patient = str(dataset.get("PatientID", "") or "").strip(" \0")
    if not patient:
        raise CannotDeidentifyError("PatientID is missing, so its dates cannot be shifted as its other studies' are")
    return keys.days(patient)


def _mark(dataset: Dataset, wanted: Deidentify) -> None:
    """PS3.15 E.1.1: that, how and by which options (PS3.3 C.7.1.1, C.12.1.1.7)."""
    codes = [PROFILE_CODE, *(OPTION_CODES[option] for option in sorted(wanted.options))]
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = ["PS3.15 Annex E basic profile", *sorted(wanted.options)]
    dataset.DeidentificationMethodCodeSequence = Sequence([_code(*code) for code in codes])
    full, modified = (f"retain-longitudinal-{kind}-dates" in wanted.options for kind in ("full", "modified"))
    dataset.LongitudinalTemporalInformationModified = "UNMODIFIED" if full else "MODIFIED" if modified else "REMOVED"


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code
