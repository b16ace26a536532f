"""Secrets on their way through a template: a slot that holds the place, filled when the template is done.

A template is handed a `Slot`, never the text. All that it can do with one is to put it through a filter of its
file's format, which quotes the clear text out of the template's sight and hands back a `Filled` that only the
file takes. Whatever else would turn one into text (a filter, `~`, an error message) is refused, so that neither
a clear value nor three asterisks end up where a password should stand.
"""

import re
from collections.abc import Callable, ItemsView, Mapping, ValuesView
from types import MappingProxyType
from typing import Any, Final, NoReturn

from fleet.errors import UnfitValue
from fleet.render.artifacts import Content
from fleet.secrets.secret import MASK, Secret

_TOKEN: Final = re.compile(r"@@fleet-secret-([0-9]+)@@")
_DAMAGED: Final = re.compile("fleet-secret-", re.IGNORECASE)
_SHOWN: Final = f"fleet-secret-{MASK}"  # what a structure's own words say of one: fit for messages, never for a file


class _Unspoken:
    """What a template may pass on and not look into."""

    __slots__ = ()

    def _refuse(self, *_arguments: Any) -> NoReturn:
        raise UnfitValue(
            "a secret goes into a file through one filter of the file's format and by nothing else; here it is made"
            " into text, joined or changed"
        )

    __str__ = __format__ = __html__ = __len__ = __iter__ = __getitem__ = __add__ = __radd__ = __mul__ = _refuse
    __int__ = __float__ = __index__ = _refuse  # a filter that fails to make a number of it would write 0
    __eq__ = __ne__ = _refuse  # false whatever it is compared with, and nobody would know
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return _SHOWN

    def __bool__(self) -> bool:
        return True


class Slot(_Unspoken):
    """A secret as a template sees it."""

    __slots__ = ("_secret",)

    def __init__(self, secret: Secret) -> None:
        self._secret = secret


class Filled(_Unspoken):
    """A secret, or a structure that holds some, as a format's filter has quoted it; tokens mark the places."""

    __slots__ = ("_format_name", "_text")

    def __init__(self, text: str, format_name: str) -> None:
        self._text, self._format_name = text, format_name


def seal(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values as a template may have them: frozen at the top, with a slot for each secret."""
    return MappingProxyType({key: _slotted(value) for key, value in values.items()})


def _slotted(value: Any) -> Any:
    if isinstance(value, Secret):
        return Slot(value)
    if isinstance(value, dict):
        return {key: _slotted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_slotted(item) for item in value]
    return value


def slot_of(secret: Secret | None) -> Slot | None:
    """A setting that may be a secret, for a template."""
    return None if secret is None else Slot(secret)


class Pouch:
    """The quoted secrets of one file while its template runs."""

    def __init__(self) -> None:
        self._quoted: list[str] = []

    def fill(self, value: Any, quote: Callable[[object], str], format_name: str, *, ascii_only: bool) -> Filled | None:
        """A value with secrets in it, quoted; None where it holds none. Raises `UnfitValue`, `SealedSecret`."""
        if isinstance(value, Slot):
            return Filled(self._token(_quote_unseen(value, quote, format_name, ascii_only=ascii_only)), format_name)
        if isinstance(value, Mapping):  # `vars` itself is a frozen one
            value = dict(value)
        elif isinstance(value, ValuesView | ItemsView):
            value = list(value)
        if not isinstance(value, dict | list | tuple) or not _holds_slot(value):
            return None

        def place(slot: Slot) -> str:
            quoted = _quote_unseen(slot, quote, format_name, ascii_only=ascii_only)
            return self._token(quoted[1:-1] if quoted[:1] == '"' else quoted)  # its token stands within the quotes

        return Filled(quote(_replaced(value, place)), format_name)

    def text_of(self, value: Any, format_name: str) -> str | None:
        """What the file takes until the template is done; None where the value is not for this format."""
        return value._text if type(value) is Filled and value._format_name == format_name else None

    def unfold(self, text: str) -> Content:
        """The template's text with every secret in its place, and where these are."""
        if _SHOWN in text.lower():
            raise UnfitValue("a value that holds a secret was made into text; output the secret by its file's filter")
        if not self._quoted:
            return Content(text)
        pieces: list[str] = []
        spans: list[tuple[int, int]] = []
        length = position = 0
        for found in _TOKEN.finditer(text):
            literal, quoted = text[position : found.start()], self._quoted[int(found[1])]
            if _DAMAGED.search(literal):
                break
            pieces += (literal, quoted)
            spans.append((length + len(literal), length + len(literal) + len(quoted)))
            length, position = spans[-1][1], found.end()
        if _DAMAGED.search(text, position):
            raise UnfitValue("a secret was changed after its filter; output it as the filter gave it")
        return Content("".join((*pieces, text[position:])), tuple(spans))

    def _token(self, quoted: str) -> str:
        self._quoted.append(quoted)
        return f"@@fleet-secret-{len(self._quoted) - 1}@@"


def _quote_unseen(slot: Slot, quote: Callable[[object], str], format_name: str, *, ascii_only: bool) -> str:
    """The clear text quoted; why it cannot be is told without a character of it, also in the error's context."""
    clear = slot._secret.reveal()
    try:
        quoted = quote(clear) if clear.isascii() or not ascii_only else None
    except UnfitValue:
        quoted = None
    if quoted is None:
        raise UnfitValue(
            f"the secret at {slot._secret.location} holds a character (a line break, a control character, a quote) or"
            f" has a form that a {format_name} file cannot carry there; change the secret"
        )
    return quoted


def _holds_slot(value: Any) -> bool:
    if isinstance(value, Slot):
        return True
    if isinstance(value, dict):
        return any(_holds_slot(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_holds_slot(item) for item in value)


def _replaced(value: Any, place: Callable[[Slot], str]) -> Any:
    if isinstance(value, Slot):
        return place(value)
    if isinstance(value, dict):
        return {key: _replaced(item, place) for key, item in value.items()}
    return [_replaced(item, place) for item in value] if isinstance(value, list | tuple) else value
