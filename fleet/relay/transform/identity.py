"""Who an instance names, read before it is cleaned, and the looking for those names in what is kept of it.

The patient's names and numbers stop a kept text by any single word. Of other people, whose surnames are makers and
cities too, it takes two words of one name; of institutions, the whole name of two words or more. In bytes (tables,
pixels) whole values and long words are looked for, as they are encoded, in UTF-8 and UTF-16, in any case.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import permutations, product
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from fleet.relay.transform.elements import BINARY, read_items, read_texts, read_vr
from fleet.relay.transform.stand_ins import split_words
from fleet.relay.transform.table import Action, find_row, read_words

# Kept texts that are looked through for names; codes and units are looked through elsewhere.
_SEARCHED: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_WRITTEN: Final = frozenset({"DA", "LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # of the patient, as needles
_NUMBERS: Final = frozenset({0x00100020, 0x00101000, 0x00080050, 0x00101002})  # of the patient and the order
_INSTITUTIONS: Final = frozenset({0x00080080, 0x00080081, 0x00102299, 0x00321033})
_MANUFACTURER: Final = 0x00080070  # some devices are delivered with their maker as the institution
_SHORTEST_WORD, _SHORTEST_NUMBER = 3, 5  # shorter ones stand in any text by chance
_LONG_BINARY_BYTES: Final = 64  # in longer ones a short word stands by chance
_RUNS: Final = re.compile(r"[^\W\d_]+|[0-9]+")
_SEPARATORS: Final = re.compile(rb"[\^ ,_]+")
_LOWER: Final = bytes(range(256)).lower()
_FEWEST_DIFFERENT: Final = 4  # a flat or striped area of an image is no number of anybody
# Bytes that a needle has to have, found by noise around the letters and digits (docs/decisions/0025): in entropy-coded
# bytes every value is as likely as any other; pixels of a dark or grey area are near one another, as digits are.
LEAST_CODED: Final = 6
LEAST_PLAIN: Final = 8
_LEAST_PLAIN_DIGITS: Final = 10


@dataclass(frozen=True, slots=True)
class Identity:
    """The names in an instance, as it came."""

    patient: frozenset[str]  # words of the patient's own
    people: frozenset[str]  # words of all names
    others: frozenset[frozenset[str]]  # of each other person's name, the words
    institutions: frozenset[tuple[str, ...]]
    values: frozenset[bytes]  # what was said of them, folded: lower case, no zero bytes

    def needles(self, least: int) -> "Needles":
        """What to look for in bytes that are no text; none of them holds another."""
        digits = max(least, _LEAST_PLAIN_DIGITS) if least > LEAST_CODED else least
        long = [
            value
            for value in sorted(self.values, key=lambda value: (len(value), value))
            if len(value) >= (digits if value.isdigit() else least) and len(set(value)) >= _FEWEST_DIFFERENT
        ]
        kept: list[bytes] = []
        for value in long:
            if not any(shorter in value for shorter in kept):
                kept.append(value)
        keys = {value: max(_SEPARATORS.split(value), key=len) for value in kept}
        return Needles({key: tuple(value for value in kept if keys[value] == key) for key in set(keys.values())})


@dataclass(frozen=True, slots=True)
class Needles:
    """Values by their longest word, so that a name in several spellings costs one search where it is not."""

    by_word: Mapping[bytes, tuple[bytes, ...]]

    @property
    def longest(self) -> int:
        return max((len(value) for values in self.by_word.values() for value in values), default=1)

    def are_in(self, folded: bytes) -> bool:
        return any(word in folded and any(value in folded for value in values) for word, values in self.by_word.items())


def fold(value: bytes) -> bytes:
    """Bytes in lower case without zeros, so that UTF-16 of a western name is found as its ASCII is."""
    return value.translate(_LOWER, b"\0")


def read_identity(dataset: Dataset, columns: frozenset[str]) -> Identity:
    """Everybody that a data set names at any depth, but for what the options keep."""
    words: set[tuple[bool, str]] = set()
    others: set[frozenset[str]] = set()
    institutions: set[tuple[str, ...]] = set()
    values: set[bytes] = set()
    for item, tag, vr in _walk(dataset):
        raw = item.get_item(tag).value
        texts = [text.strip(" \0") for text in read_texts(item[tag])]
        if _goes(tag, vr, columns):
            values |= _make_needles(vr, texts, raw)
            if int(tag) in _INSTITUTIONS:
                institutions |= {phrase for text in texts if len(phrase := tuple(split_words(text))) > 1}
        if vr == "PN":
            names = [frozenset(word for word in split_words(text) if len(word) >= _SHORTEST_WORD) for text in texts]
            words |= {(tag.group == 0x0010, word) for name in names for word in name}
            if tag.group != 0x0010:
                others |= {name for name in names if len(name - read_words()) and len(name) > 1}
        elif int(tag) in _NUMBERS:
            words |= {(True, text.casefold()) for text in texts if len(text) >= _SHORTEST_NUMBER}
    return Identity(
        frozenset(word for is_patient, word in words if is_patient),
        frozenset(word for _, word in words),
        frozenset(others),
        frozenset(institutions),
        frozenset(values),
    )


def find_name(dataset: Dataset, tag: BaseTag, identity: Identity) -> str | None:
    """Whose name stands in an element that is to be kept, in words; None for nobody's."""
    vr, value = read_vr(dataset, tag), dataset.get_item(tag).value
    if vr in BINARY and isinstance(value, bytes):
        return "a word of the patient's identity" if _hide(value, identity) else None
    if vr not in _SEARCHED:
        return None
    # A code is no name because a patient is called Head or Chest.
    patient = identity.patient - read_words() if vr == "CS" else identity.patient
    texts = [text.casefold() for text in read_texts(dataset[tag])]
    # Whole, and without what it is glued to: control characters, digits, underscores.
    words = {word for text in texts for word in (*split_words(text), *text.split(), *_RUNS.findall(text))}
    if not patient.isdisjoint(words):
        return "a word of the patient's identity"
    if any(len(name & words) > 1 and name & words - read_words() for name in identity.others):
        return "the name of another person"
    if int(tag) != _MANUFACTURER and _names_institution(texts, identity.institutions):
        return "the name of an institution"
    return None


def names_patient_fully(element: DataElement, identity: Identity) -> bool:
    """Whether two words of the patient's stand in a place's name, which may have one of a saint's or a founder's."""
    return any(len(identity.patient.intersection(split_words(text))) > 1 for text in read_texts(element))


def _names_institution(texts: Iterable[str], institutions: Iterable[tuple[str, ...]]) -> bool:
    lines = [f" {' '.join(split_words(text))} " for text in texts]
    return any(f" {' '.join(phrase)} " in line for phrase in institutions for line in lines)


def _hide(value: bytes, identity: Identity) -> bool:
    """Whether letters stand where numbers should: tables, profiles and curves bear comments of their own."""
    shortest = _SHORTEST_NUMBER if len(value) > _LONG_BINARY_BYTES else _SHORTEST_WORD
    texts = {value.decode(encoding, "replace").casefold() for encoding in ("latin-1", "utf-8")}
    if any(word in text for text in texts for word in identity.patient if len(word) >= shortest):
        return True
    return len(value) >= LEAST_PLAIN and identity.needles(LEAST_PLAIN).are_in(fold(value))


def _walk(dataset: Dataset) -> Iterator[tuple[Dataset, BaseTag, str]]:
    """Every element that may name somebody, at any depth."""
    for tag in list(dataset.keys()):
        if tag.is_private:
            continue
        vr = read_vr(dataset, tag)
        if vr == "SQ":
            for item in read_items(dataset, tag):
                yield from _walk(item)
        elif vr == "PN" or int(tag) in _NUMBERS | _INSTITUTIONS or (tag.group == 0x0010 and vr in _WRITTEN):
            yield dataset, tag, vr


def _goes(tag: BaseTag, vr: str, columns: frozenset[str]) -> bool:
    row = find_row(int(tag), vr)
    return row is not None and row.action(columns) is not Action.KEEP


def _make_needles(vr: str, texts: Iterable[str], raw: object) -> set[bytes]:
    """A value in the ways in which somebody may have written it down elsewhere."""
    written = set(texts)
    for text in list(written) if vr == "PN" else ():
        words = [word for word in re.split(r"[\s^=]+", text) if word]
        written |= {word for word in words if len(word) >= LEAST_CODED}
        written |= {glue.join(pair) for pair in permutations(words[:2], 2) for glue in ("^", " ", ", ", "_")}
    encoded = {each for text in written for each in _encode_all(text)}
    whole = {raw.strip(b" \0")} if isinstance(raw, bytes) else set()
    return {fold(each) for each in encoded | whole} - {b""}


def _encode_all(text: str) -> Iterator[bytes]:
    if text.isascii():
        yield text.encode("ascii")  # UTF-16 of it, and other case, are the same when folded
        return
    for cased, encoding in product((text, text.lower(), text.upper()), ("utf-8", "latin-1", "utf-16-le", "utf-16-be")):
        with suppress(UnicodeError):
            yield cased.encode(encoding)
