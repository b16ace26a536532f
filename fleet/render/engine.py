"""The template engine: sandboxed Jinja2 with strict undefined. The only module that knows jinja2.

A template may be written by somebody who may not read our files: it finds templates of its own folder and
ours, nothing else (T12); it calls nothing that is not in its context; what could make it run for ever or grow
without end is refused where that is cheap, and killed by `render.limits` where it is not (T13). Values are
data: nothing is rendered twice (T14). Nothing here depends on chance or time.
"""

import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import (
    BaseLoader,
    StrictUndefined,
    Template,
    TemplateNotFound,
    TemplateSyntaxError,
    Undefined,
    UndefinedError,
)
from jinja2.environment import Environment
from jinja2.exceptions import SecurityError
from jinja2.meta import find_referenced_templates
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from fleet.errors import TemplateError, UnfitValue, did_you_mean
from fleet.render.artifacts import Content
from fleet.render.formats import Format, Quoted, quote_line, quoted
from fleet.render.slots import Filled, Pouch, Slot
from fleet.secrets.secret import SealedSecret
from fleet.targets.text import find_unfit

OUR_FOLDER = Path(__file__).parent / "templates"
MAX_TEMPLATE_BYTES = 1024 * 1024
MAX_OPERAND = 100_000  # characters, items or bits that an operator may make
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*\Z")
_FILTERS = frozenset(
    {
        *("abs", "batch", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float"),
        *("groupby", "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject"),
        *("rejectattr", "replace", "reverse", "round", "select", "selectattr", "sort", "string", "sum", "title"),
        *("trim", "truncate", "unique", "upper", "wordcount"),
    }
)
_GLOBALS = frozenset({"range", "dict", "namespace"})


class _Loader(BaseLoader):
    """A team's folder first, ours after it; a template's real path must lie in one of them."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:  # noqa: ARG002
        if not _NAME.match(template) or len(template) > 200:
            raise SecurityError(f"{template!r} is no template's name: it may not lead out of the folder of templates")
        for folder in self._folders:
            text = read_contained(folder, template)
            if text is not None:
                check_source(text, template)
                return text, str(folder / template), lambda: True
        raise TemplateNotFound(template)


def check_source(text: str, name: str) -> None:
    """Nothing that nobody sees reaches a host through a template (T11); raises `TemplateSyntaxError` with its line."""
    at = find_unfit(text)
    if at is not None:
        line = text.count("\n", 0, at) + 1
        raise TemplateSyntaxError(f"it holds U+{ord(text[at]):04X}, which nobody sees; remove it", line, name, name)


def read_contained(folder: Path, name: str) -> str | None:
    """A template's text; None where there is none. What is open is asked where it lies, so no swap of a link helps."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        real = Path(os.path.realpath(folder / name))
        with suppress(OSError):  # Linux tells where an open file lies
            real = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not real.is_relative_to(os.path.realpath(folder)):
            raise SecurityError(f"{name!r} is a symbolic link that leads out of the folder of templates")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SecurityError(f"{name!r} is no regular file")
        data = file.read(MAX_TEMPLATE_BYTES + 1)
    if len(data) > MAX_TEMPLATE_BYTES:
        raise SecurityError(f"{name!r} is larger than {MAX_TEMPLATE_BYTES // 1024} KB")
    return data.decode("utf-8")


class _Missing(StrictUndefined):
    """What is not there, in the words of whoever writes a template: what was asked, and what there is instead."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        asked, owner, name = self._undefined_name, self._undefined_obj, ""
        if self._undefined_hint or owner is missing:
            return str(super()._undefined_message)
        if is_dataclass(owner):
            name, known = type(owner).__name__, [field.name for field in fields(owner)]
        elif isinstance(owner, Mapping):
            name, known = "mapping", sorted(str(key) for key in owner)
        else:
            return f"a {_PLAIN_NAMES.get(type(owner), 'value')} has no {asked!r}"
        what = _OWNERS.get(name, name)
        meant = did_you_mean(str(asked), known)
        return f"{what} has no {asked!r}, it has {', '.join(known[:30]) or 'nothing'}{meant}"


_OWNERS: Mapping[str, str] = {
    "HostView": "a host",
    "EntityView": "an entity",
    "InstanceView": "an instance",
    "PeerView": "a peer",
    "ServiceView": "a virtual service",
    "mapping": "this mapping",
}
_PLAIN_NAMES: Mapping[type, str] = {str: "text", int: "number", tuple: "list", list: "list", bool: "yes or no"}


class _Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's sandbox, with the operators that make much out of little under a bound."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    plain_types: frozenset[type] = frozenset()

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A field of one of our own frozen values is as safe as it is frequent; all else takes the long way."""
        if type(obj) in self.plain_types and attribute[:1] != "_":
            try:
                return getattr(obj, attribute)
            except AttributeError:
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _check_operands(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> None:  # noqa: ARG002
        """Nothing: jinja2 would hand out a `str.format` of its own, which makes a gigabyte out of one field width."""
        return

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return super().is_safe_attribute(obj, attr, value) and not (
            isinstance(obj, str) and attr in {"format", "format_map", "center", "ljust", "rjust", "zfill", "expandtabs"}
        )


def _check_operands(operator: str, left: Any, right: Any) -> None:
    if operator == "%" and isinstance(left, str):
        raise SecurityError("text is not formatted with % here; use the format's filter")
    if operator == "+":
        too_much = _size(left) + _size(right) > MAX_OPERAND * 10
    elif operator == "*":
        numbers = isinstance(left, int) and isinstance(right, int)
        too_much = (_bits(left) + _bits(right) if numbers else _product(left, right)) > MAX_OPERAND
    else:
        too_much = operator == "**" and isinstance(right, int) and _bits(left) * abs(right) > MAX_OPERAND
    if too_much:
        raise SecurityError(f"the operator {operator} would make something too large")


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 64


def _product(left: Any, right: Any) -> int:
    for sequence, number in ((left, right), (right, left)):
        if isinstance(sequence, str | bytes | list | tuple) and isinstance(number, int):
            return len(sequence) * max(0, number)
    return 0


class _Hand:
    """Holds the pouch of the file that is being rendered, for the filters of all formats."""

    __slots__ = ("pouch",)

    def __init__(self) -> None:
        self.pouch = Pouch()


def _make_finalizer(format_: Format, hand: _Hand) -> Callable[[Any], Any]:
    """What stands between a value and the file: only what the format's own filter returned, and integers."""

    def finalize(value: Any) -> Any:
        if type(value) is Quoted and value.format_name == format_.name:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, Undefined):
            return str(value)  # a strict one raises, naming itself
        if format_.raw_text and isinstance(value, str):
            return quote_line(value)
        filled = hand.pouch.text_of(value, format_.name)
        if filled is not None:
            return filled
        return _refuse_raw(value, format_)

    return finalize


_KINDS: Mapping[type, str] = {Slot: "a secret", Filled: "a secret of another format"}


def _refuse_raw(value: Any, format_: Format) -> NoReturn:
    filters = " or ".join(f"`| {name}`" for name in sorted(format_.filters))
    what = f"the text {value!r}" if isinstance(value, str) else _KINDS.get(type(value), f"a {type(value).__name__}")
    raise UnfitValue(f"{what} would stand unquoted in a {format_.name} file; output it with {filters}")


class Templates:
    """Our templates with a team's laid over them, compiled once. One lives as long as one rendering."""

    def __init__(self, folder: Path | None = None, plain_types: frozenset[type] = frozenset()) -> None:
        self._plain_types = plain_types
        self._folders = (*((folder,) if folder is not None else ()), OUR_FOLDER)
        self._environments: dict[str, _Sandbox] = {}
        self._compiled: dict[tuple[str, str, str], Template] = {}
        self._hand = _Hand()

    def render(self, name: str, format_: Format, context: Mapping[str, Any], *, host: str) -> Content:
        """One of our templates, or the team's of the same name. Raises `TemplateError` and `UnfitValue`."""
        return self._render(name, lambda: self._load(name, format_), context, host)

    def render_source(
        self, source: str, name: str, format_: Format, context: Mapping[str, Any], *, host: str
    ) -> Content:
        """A template whose text was read beside the inventory."""
        return self._render(name, lambda: self._compile(source, name, format_), context, host)

    def _render(self, name: str, find: Callable[[], Template], context: Mapping[str, Any], host: str) -> Content:
        self._hand.pouch = Pouch()
        try:
            return self._hand.pouch.unfold(find().render(context))
        except SealedSecret:  # no template's fault; it says which value is closed
            raise
        except UnfitValue as error:
            place = _find_line(error, name)
            raise type(error)(f"{place}: {error} (host {host})") from error
        except Exception as error:  # whatever a template raises is the template's fault
            said = _say(error) + _name_known(error, context)
            raise TemplateError(f"{_find_line(error, name)}: {said} (host {host})") from error

    def check(self, name: str, format_: Format, source: str | None = None) -> tuple[str, ...]:
        """Parse a template without running it; returns the templates that it names. Raises `TemplateError`."""
        try:
            environment = self._environment(format_)
            text = self._text_of(name, environment) if source is None else source
            check_source(text, name)
            environment.compile(text, name, name)  # unknown filters are found here
            return tuple(each for each in find_referenced_templates(environment.parse(text)) if each is not None)
        except Exception as error:  # whatever a template raises is the template's fault
            raise TemplateError(f"{_find_line(error, name)}: {_say(error)}") from error

    def _text_of(self, name: str, environment: Environment) -> str:
        assert environment.loader is not None  # noqa: S101  made with one
        return environment.loader.get_source(environment, name)[0]

    def _load(self, name: str, format_: Format) -> Template:
        key = (format_.name, name, "")
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = self._environment(format_).get_template(name)
        return found

    def _compile(self, source: str, name: str, format_: Format) -> Template:
        key = (format_.name, name, source)
        found = self._compiled.get(key)
        if found is None:
            environment = self._environment(format_)
            check_source(source, name)
            code = environment.compile(source, name, name)
            found = self._compiled[key] = Template.from_code(environment, code, environment.make_globals(None))
        return found

    def _environment(self, format_: Format) -> _Sandbox:
        found = self._environments.get(format_.name)
        if found is None:
            found = self._environments[format_.name] = _make_environment(format_, self._folders, self._hand)
            found.plain_types = self._plain_types
        return found


def _make_environment(format_: Format, folders: tuple[Path, ...], hand: _Hand) -> _Sandbox:
    environment = _Sandbox(
        loader=_Loader(folders),
        undefined=_Missing,
        finalize=_make_finalizer(format_, hand),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        newline_sequence="\n",
        optimized=False,  # folding constants would run an untrusted template's expressions while it compiles
        auto_reload=False,
    )
    environment.filters = {name: made for name, made in environment.filters.items() if name in _FILTERS}
    for name, quote in format_.filters.items():
        environment.filters[name] = _mark(quote, format_, hand)
    environment.globals = {name: made for name, made in environment.globals.items() if name in _GLOBALS}
    return environment


def _mark(quote: Callable[[object], str], format_: Format, hand: _Hand) -> Callable[[Any], Any]:
    def apply(value: Any) -> Any:
        if type(value) is not str:
            if isinstance(value, Undefined):
                return str(value)  # raises, naming itself
            filled = hand.pouch.fill(value, quote, format_.name, ascii_only=format_.ascii_only)
            if filled is not None:
                return filled
        return quoted(quote(value), format_.name)

    return apply


def _say(error: Exception) -> str:
    if isinstance(error, TemplateNotFound):
        return f"there is no template {error.name!r}, neither beside the inventory nor among fleet's own"
    if isinstance(error, UndefinedError | TemplateSyntaxError):
        return str(error.message)
    if isinstance(error, SecurityError):
        return f"refused by the sandbox: {error}"
    if isinstance(error, RecursionError):
        return "it calls itself without end"
    if isinstance(error, MemoryError):
        return "it needs more memory than a template may have"
    return f"{type(error).__name__}: {error}"


def _name_known(error: Exception, context: Mapping[str, Any]) -> str:
    """What a template can name at all, where it named something else."""
    found = _UNDEFINED.fullmatch(str(error)) if isinstance(error, UndefinedError) else None
    if found is None:
        return ""
    return did_you_mean(found[1], context) or f"; a template knows {', '.join(sorted(context))}"


_UNDEFINED = re.compile(r"'([^']*)' is undefined")


def _find_line(error: Exception, name: str) -> str:
    """`template:line` of the innermost place in a template: jinja2 puts its lines into the traceback."""
    if isinstance(error, TemplateSyntaxError):
        return f"{error.filename or error.name or name}:{error.lineno}"
    place = name
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file == name or file.endswith(".j2") or file.startswith("<template"):
            place = f"{file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
