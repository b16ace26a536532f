"""Strict YAML: a file's bytes as plain values with the place of each, and all that is wrong with it.

It is read as an event stream, so that limits of depth and size hold before anything is composed (a deep
flow sequence makes libyaml's composer overrun the C stack), and so that 10,000 entities with line numbers
cost less than the plain loader. The resolver knows three things only: `true`/`false`, integers written the
one canonical way, and nothing (an empty value or `null`). All else is the text that was typed: `NO`, `0123`,
`1E3`, `12:30` stay what they are, and since canonical integers print as they were typed, text is never lost.
Values below a key of `text_keys` are always text, save below `vars`, where all words are the user's own.

Anchors, aliases, merge keys, tags (but `!vault`) and second documents are refused: a setting shared by many
belongs into `defaults`, `kinds` or `vars`, where `fleet explain-value` can say where it came from.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Any, Final

import yaml
from yaml._yaml import CParser

from fleet.documents.hidden import HIDDEN
from fleet.documents.values import Document, Position
from fleet.errors import Location, Problem, Severity
from fleet.secrets.secret import Secret
from fleet.secrets.vault import Vault
from fleet.secrets.vault_format import VaultError, WrongPassword

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_DEPTH: Final = 64
MAX_SCALAR_CHARACTERS: Final = 1024 * 1024

_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,17})\Z")
# What an escape in double quotes can bring in; newline and tab are text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# The inverse of what YAML 1.2 section 5.1 calls printable.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Below these keys a user's own words stand: what `text_keys` says of a word's meaning elsewhere ends here.
_FREE_KEYS = frozenset({"vars"})

VAULT_TAG: Final = "!vault"
VAULT_PLACES: Final = "it may stand below `vars`, as `auth_pass` of `vrrp` and as `key` of `certificates`"


class _RefusedError(Exception):
    """Reading this file stops here: the problem says why."""

    def __init__(self, code: str, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.code, self.line, self.column = code, line, column


class _Reader:
    """One pass over libyaml's events, building plain values and the table of positions."""

    def __init__(self, text: str, path: str, text_keys: frozenset[str], vault: Vault | None) -> None:
        self.next_event: Callable[[], Any] = CParser(text).get_event
        self.path = path
        self.vault = vault
        self.holds_secrets = False
        self.text_keys = text_keys
        self.positions: dict[int, dict[Any, Position]] = {}
        self.problems: list[Problem] = []
        self.hidden_is_told = self.check_hidden(text)

    def read(self) -> Any:
        """The one document of the stream; None where there is none."""
        self.next_event()
        event = self.next_event()
        if type(event) is yaml.StreamEndEvent:
            return None
        value = self.node(self.next_event(), False, 0)
        self.next_event()
        event = self.next_event()
        if type(event) is not yaml.StreamEndEvent:
            raise self.refusal("yaml-several-documents", "a second document begins here; one file holds one", event)
        return value

    def node(self, event: Any, as_text: bool | None, depth: int) -> Any:
        """The value that begins with `event`."""
        kind = type(event)
        if kind is yaml.ScalarEvent:
            return self.scalar(event, as_text)
        if kind is yaml.AliasEvent:
            raise self.refusal(
                "yaml-alias", "aliases are refused; share settings by `defaults`, `kinds` or `vars`", event
            )
        self.check_plain(event)
        if depth >= MAX_DEPTH:
            raise self.refusal("yaml-too-deep", f"nested deeper than {MAX_DEPTH} levels", event)
        if kind is yaml.MappingStartEvent:
            return self.mapping(depth + 1, as_text)
        return self.sequence(as_text, depth + 1)

    def check_plain(self, event: Any) -> None:
        """Refuse anchors and tags: both give a value a second meaning that a reader of the line cannot see."""
        if event.anchor is not None:
            raise self.refusal(
                "yaml-alias", "anchors are refused; share settings by `defaults`, `kinds` or `vars`", event
            )
        if event.tag is not None:
            if event.tag == VAULT_TAG:
                raise self.refusal(
                    "secret-misplaced", f"{VAULT_TAG} marks a text that is a value; {VAULT_PLACES}", event
                )
            raise self.refusal(
                "yaml-tag", f"the tag {event.tag!r} is refused: values here are plain, or {VAULT_TAG} ones", event
            )

    def scalar(self, event: Any, as_text: bool | None) -> Any:
        """Text, a canonical integer, a boolean or nothing."""
        text: str = event.value
        if event.tag is not None or event.anchor is not None:
            if event.tag == VAULT_TAG and event.anchor is None:
                return self.secret(text, event)
            self.check_plain(event)
        if len(text) > MAX_SCALAR_CHARACTERS:
            raise self.refusal("yaml-too-large", f"a text longer than {MAX_SCALAR_CHARACTERS} characters", event)
        if not text.isascii() or (event.style == '"' and _CONTROL.search(text)):
            self.check_unicode(text, event)
        if not event.implicit[0]:  # quoted, or a block scalar: text is meant
            return text
        if text == "":
            return None
        if as_text:
            return text
        if text == "true":
            return True
        if text == "false":
            return False
        if text == "null":
            return None
        first = text[0]
        if (first.isdigit() or first == "-") and _INTEGER.match(text):
            return int(text)
        return text

    def secret(self, text: str, event: Any) -> Secret:
        """A `!vault` value, opened where there is a password; what is wrong with it is told without its text."""
        if self.vault is None:
            raise self.refusal("secret-misplaced", f"{VAULT_TAG} stands in no file but an inventory's", event)
        at = Location(self.path, event.start_mark.line + 1, event.start_mark.column + 1)
        self.holds_secrets = True
        try:
            return self.vault.open_text(text, at)
        except VaultError as error:
            code = "vault-password" if isinstance(error, WrongPassword) else "vault-damaged"
            self.problems.append(Problem(code, Severity.ERROR, f"this {VAULT_TAG} value: {error}", at))
            return Secret(None, at)

    def check_hidden(self, text: str) -> bool:
        """Whether the file holds characters, comments included, that make a line read as another (T11)."""
        if text.isascii():
            return False
        found = list(HIDDEN.finditer(text))
        for match in found[:20]:
            line, column = _place_in(text, match.start())
            self.add_hidden(match.group(), Location(self.path, line, column))
        return bool(found)

    def add_hidden(self, character: str, at: Location) -> None:
        """Refuse one character that nobody sees."""
        message = (
            f"an invisible, bidirectional or control character (U+{ord(character):04X}) is in this text: it would"
            " read as something else than it is; remove it"
        )
        self.problems.append(Problem("text-hidden-character", Severity.ERROR, message, at))

    def check_unicode(self, text: str, event: Any) -> None:
        """Refuse what reads as something else: hidden controls, and letters that are not in NFC (UAX 15)."""
        at = Location(self.path, event.start_mark.line + 1, event.start_mark.column + 1)
        found = _CONTROL.search(text) or (None if self.hidden_is_told else HIDDEN.search(text))
        if found:
            self.add_hidden(found.group(), at)
        elif not unicodedata.is_normalized("NFC", text):
            message = "this text is not in Unicode normal form C: it looks like another spelling of itself; retype it"
            self.problems.append(Problem("text-not-normalized", Severity.ERROR, message, at))

    def mapping(self, depth: int, as_text: bool | None) -> dict[str, Any]:
        """A mapping with text keys, each once."""
        result: dict[str, Any] = {}
        places: dict[Any, Position] = {}
        self.positions[id(result)] = places
        next_event, text_keys, scalar_event = self.next_event, self.text_keys, yaml.ScalarEvent
        while True:
            event = next_event()
            kind = type(event)
            if kind is yaml.MappingEndEvent:
                return result
            if kind is not scalar_event:
                raise self.refusal("yaml-key", "a key must be plain text", event)
            if event.tag is not None or event.anchor is not None:
                self.check_plain(event)
            key = event.value
            mark = event.start_mark
            line, column = mark.line, mark.column
            if not key.isascii() or event.style == '"':
                self.scalar(event, True)
            if key == "<<":
                raise self.refusal(
                    "yaml-merge-key",
                    "merge keys are refused; share settings by `defaults`, `kinds` or `vars`",
                    event,
                )
            event = next_event()
            mark = event.start_mark
            text_below = as_text or (None if as_text is None or key in _FREE_KEYS else key in text_keys)
            value = (
                self.scalar(event, text_below) if type(event) is scalar_event else self.node(event, text_below, depth)
            )
            if key in places:
                self.add_duplicate(key, places[key], line, column)
                continue
            places[key] = (line, column, mark.line, mark.column)
            result[key] = value

    def add_duplicate(self, key: str, first: Position, line: int, column: int) -> None:
        """YAML readers keep the last of two equal keys and lose the first in silence; both places are told."""
        message = (
            f"the key {key!r} stands twice in one mapping (first in line {first[0] + 1}); one of them would be lost"
        )
        here, there = (
            Location(self.path, line + 1, column + 1),
            Location(self.path, first[0] + 1, first[1] + 1),
        )
        self.problems.append(Problem("yaml-duplicate-key", Severity.ERROR, message, here, (there,)))

    def sequence(self, as_text: bool | None, depth: int) -> list[Any]:
        """A list."""
        result: list[Any] = []
        places: dict[Any, Position] = {}
        self.positions[id(result)] = places
        while True:
            event = self.next_event()
            if type(event) is yaml.SequenceEndEvent:
                return result
            mark = event.start_mark
            line, column = mark.line, mark.column
            places[len(result)] = (line, column, line, column)
            result.append(self.node(event, as_text, depth))

    @staticmethod
    def refusal(code: str, message: str, event: Any) -> _RefusedError:
        """A reason to stop reading, with the place of `event`."""
        return _RefusedError(code, message, event.start_mark.line + 1, event.start_mark.column + 1)


def _place_in(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of a character of `text`."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def parse_document(
    data: bytes, path: str, text_keys: frozenset[str], vault: Vault | None = None
) -> tuple[Document | None, list[Problem]]:
    """One file's bytes as a `Document` and the problems in it; None where nothing could be made of it.

    Without a `vault` there may be no secrets in it.
    """
    if len(data) > MAX_FILE_BYTES:
        message = f"larger than {MAX_FILE_BYTES // 1024 // 1024} MB, so nothing of it is read; split it by site"
        return None, [Problem("yaml-too-large", Severity.ERROR, message, Location(path, 1, 1))]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return None, [_not_utf8(data, path, error)]
    reader = _Reader(text, path, text_keys, vault)
    try:
        value = reader.read()
    except _RefusedError as error:
        at = Location(path, error.line, error.column)
        return None, [*reader.problems, Problem(error.code, Severity.ERROR, str(error), at)]
    except yaml.YAMLError as error:
        return None, [*reader.problems, _syntax_problem(text, path, error)]
    return Document(path, value, reader.positions, reader.holds_secrets), reader.problems


def _not_utf8(data: bytes, path: str, error: UnicodeDecodeError) -> Problem:
    start = data.rfind(b"\n", 0, error.start) + 1
    column = len(data[start : error.start].decode("utf-8", "replace").removeprefix("\ufeff")) + 1
    at = Location(path, data.count(b"\n", 0, error.start) + 1, column)
    message = f"not UTF-8 text (byte 0x{data[error.start]:02x}), so nothing of the file is read; save it as UTF-8"
    return Problem("not-utf8", Severity.ERROR, message, at)


def _syntax_problem(text: str, path: str, error: yaml.YAMLError) -> Problem:
    """What libyaml said, with its place; a character that YAML forbids has none there, so it is looked up."""
    line, column = 1, 1
    said = " ".join(str(error).split())
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            line, column = mark.line + 1, mark.column + 1
        said = " ".join(part for part in (error.context, error.problem) if part)
        said += _yaml_hint(text, error)
    elif found := _UNPRINTABLE.search(text):
        line, column = _place_in(text, found.start())
        said = f"the character U+{ord(found.group()):04X} may not stand in a YAML file"
    message = f"not YAML: {said}; nothing of the file is read"
    return Problem("yaml-syntax", Severity.ERROR, message, Location(path, line, column))


def _yaml_hint(text: str, error: yaml.MarkedYAMLError) -> str:
    """What a person most likely typed where libyaml gave up; nothing where it could be many things."""
    mark, begun, problem = error.problem_mark, error.context_mark, error.problem or ""
    if mark is None:
        return ""
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or line[mark.column : mark.column + 1] == "\t":
        return " (a tab: indent with spaces)"
    if begun is not None and ("quoted scalar" in (error.context or "") or "flow" in (error.context or "")):
        return f" (what is not closed, or lacks quotes around a text with `: `, begins at {_spot(begun)})"
    if problem.startswith("mapping values"):
        return " (either this line is indented too far, or a text with `: ` in it lacks quotes)"
    if begun is not None and "block" in (error.context or ""):
        return f" (this line is not indented like those before it, which begin at {_spot(begun)})"
    return ""


def _spot(mark: Any) -> str:
    return f"{mark.line + 1}:{mark.column + 1}"
