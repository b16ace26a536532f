"""Why the compiled validator rejected something, in the user's words and with the place.

The one module that loads jsonschema, which can explain and takes its time; what is accepted never comes here.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import jsonschema.validators

from fleet.documents.values import Document
from fleet.errors import Problem, Severity, did_you_mean
from fleet.inventory.typed import Pointer
from fleet.validate.accepting import make_accepting, read_item_schemas, select_schema

_LEADING_ZERO = re.compile(r"[+-]?0[0-9_]+\Z")


def explain_document(document: Document, name: str) -> tuple[list[Problem], frozenset[Pointer]]:
    """What the schema `name` says against a rejected document, and the pointers of what is broken."""
    problems: dict[Problem, None] = {}
    broken: set[Pointer] = set()
    for base, error in _errors(document.value, name):
        for deepest in _deepest(error):
            for pointer, problem in _describe(document, (*base, *deepest.absolute_path), deepest):
                problems[problem] = None
                broken.add(pointer)
    if not broken:  # the two validators disagree: what one rejects is never let through in silence
        at = document.locate(())
        problems[Problem("schema", Severity.ERROR, "this file does not follow the schema", at)] = None
        broken.add(())
    return list(problems), frozenset(broken)


def explains(value: Any, name: str) -> bool:
    """The explaining validator's verdict alone: whether it finds nothing."""
    return next(_explaining(name).iter_errors(value), None) is None


def _errors(value: Any, name: str) -> Iterator[tuple[Pointer, jsonschema.ValidationError]]:
    """Every error with the pointer of the value that was walked.

    Items of long lists are walked one by one, and only those that the compiled validator rejects: one slip
    in ten thousand entities costs one entity's walk.
    """
    lists = {
        key: item
        for key, item in read_item_schemas(name).items()
        if isinstance(value, dict) and isinstance(value.get(key), list)
    }
    shell = {key: [] if key in lists else item for key, item in value.items()} if lists else value
    for error in _explaining(name).iter_errors(shell):
        yield (), error
    for key in lists:
        accepting, explaining = make_accepting(name, key), _explaining(name, key)
        for index, item in enumerate(value[key]):
            if not accepting.is_valid(item):
                for error in explaining.iter_errors(item):
                    yield (key, index), error


@cache
def _explaining(name: str, key: str | None = None) -> Any:
    return _Explaining(select_schema(name, key))


def _check_pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    """`pattern` as ECMA 262 means it: `$` is the very end, where Python's also stands before a last newline."""
    if isinstance(instance, str) and not _compile(pattern).search(instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(_END.sub(r"\\Z", pattern))


_END = re.compile(r"(?<!\\)\$")
_extend: Any = jsonschema.validators.extend
_Explaining: Any = _extend(jsonschema.Draft202012Validator, {"pattern": _check_pattern})


def _deepest(error: jsonschema.ValidationError) -> list[jsonschema.ValidationError]:
    """Of an either-or, what is wrong with the branch that was most likely meant: right kind, fewest faults."""
    if error.validator not in ("oneOf", "anyOf") or not error.context:
        return [error]
    branches: dict[Any, list[jsonschema.ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)

    def unlikely(faults: list[jsonschema.ValidationError]) -> tuple[bool, int]:
        return any(fault.validator == "type" and len(fault.path) == 0 for fault in faults), len(faults)

    return min(branches.values(), key=unlikely)


def _describe(
    document: Document, path: Pointer, error: jsonschema.ValidationError
) -> Iterator[tuple[Pointer, Problem]]:
    """An error in the user's words, each with the pointer of what it spoils."""
    if error.validator == "additionalProperties":
        yield from _unknown_keys(document, path, error)
    elif "propertyNames" in tuple(error.absolute_schema_path):
        spoiled = (*path, str(error.instance))
        text = f"{_place(document, path)}: the key {_show(error.instance)} is not of its form. {_NAME_HINT}"
        yield spoiled, Problem("schema-key", Severity.ERROR, text, document.locate(spoiled, key=True))
    else:
        code, text = _tell(document, path, error)
        yield path, Problem(code, Severity.ERROR, text, document.locate(path))


_NAME_HINT = "Names here are letters, digits, '_', '.' and '-'; variables have no '.' or '-', DICOM keywords a capital"


def _tell(document: Document, path: Pointer, error: jsonschema.ValidationError) -> tuple[str, str]:
    """Code and message of one error."""
    wanted: Any = error.validator_value
    value: Any = error.instance
    name = _name(path)
    schema: Any = error.schema
    form = str(schema.get("description", ""))
    match error.validator:
        case "required":
            missing = _join(key for key in wanted if key not in value)
            return "schema-missing-key", f"{_place(document, path)} lacks {missing}"
        case "type":
            what = f"an item of {name}" if path and isinstance(path[-1], int) else name
            return "schema-type", f"{what} must be {_kind(wanted)}, not {_show(value)}{_hint(wanted, value)}"
        case "enum":
            text = f"{name}: {_show(value)} is none of {_join(wanted)}{did_you_mean(str(value), map(str, wanted))}"
            return "schema-value", text
        case "const":
            return "schema-value", f"{name} can only be {'false' if wanted is False else _show(wanted)}"
        case "minimum":
            return "schema-value", f"{name}: {value} is below {wanted}"
        case "maximum":
            return "schema-value", f"{name}: {value} is above {wanted}"
        case "pattern":
            return "schema-value", f"{name}: {_show(value)} is not of its form. {form}".rstrip()
        case "minLength" | "maxLength" if value and form:  # the form says more than how long it is
            return "schema-value", f"{name}: {_show(value)} is not of its form. {form}"
        case "minLength" | "maxLength" | "minItems" | "maxItems" | "uniqueItems" | "minProperties" | "maxProperties":
            told = _LENGTHS[str(error.validator)].format(wanted, "" if wanted == 1 else "s")
            return "schema-value", f"{name}: {_show(value)} {told}"
    return "schema", error.message


_LENGTHS = {
    "minLength": "is shorter than {} character{}",
    "maxLength": "is longer than {} character{}",
    "minItems": "needs at least {} item{}",
    "maxItems": "has more than {} item{}",
    "uniqueItems": "names something twice",
    "minProperties": "needs at least {} key{}",
    "maxProperties": "has more than {} key{}",
}


def _unknown_keys(
    document: Document, path: Pointer, error: jsonschema.ValidationError
) -> Iterator[tuple[Pointer, Problem]]:
    schema: Any = error.schema
    known = sorted(schema.get("properties", {}))
    extras: Any = error.instance
    for extra in (key for key in extras if key not in known):
        key, colon, rest = str(extra).partition(":")
        if colon and key in known:
            hint = f"; YAML wants a space after the colon: `{key}: {rest or '...'}`"
        else:
            hint = did_you_mean(str(extra), map(str, known)) or f"; it knows {_join(known)}"
        text = f"{_place(document, path)} has no key {_show(extra)}{hint}"
        spoiled = (*path, str(extra))
        yield spoiled, Problem("schema-unknown-key", Severity.ERROR, text, document.locate(spoiled, key=True))


def _name(path: Pointer) -> str:
    """The key that a value stands under; of an item of a list, the list's."""
    return next((str(step) for step in reversed(path) if isinstance(step, str)), "this file")


def _place(document: Document, path: Pointer) -> str:
    """The way to a value in the user's words: an item of a list by its own name, where it has one."""
    value, words = document.value, []
    for step in path:
        value = value[step]
        words.append(_name_item(value, step) if isinstance(step, int) else step)
    return "/".join(words) or "this file"


def _name_item(value: Any, number: int) -> str:
    for key in _NAMES if isinstance(value, dict) else ():
        if isinstance(value.get(key), str) and value[key]:
            return str(value[key])
    return f"item {number + 1}"


# What an item of a list is known by, the first that it has.
_NAMES = ("name", "ae_title", "entity", "path", "host", "code", "template")


def _join(words: Any) -> str:
    return ", ".join(str(word) for word in words)


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "empty"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
}


def _kind(wanted: Any) -> str:
    kinds = [wanted] if isinstance(wanted, str) else list(wanted)
    return " or ".join(_KINDS.get(kind, kind) for kind in kinds)


def _hint(wanted: Any, value: Any) -> str:
    if wanted == "integer" and isinstance(value, str):
        if _LEADING_ZERO.match(value):
            return "; a leading zero means octal to some readers (0104 is 68): type the number without it"
        if value.isdigit():
            return "; take it out of its quotes"
    if wanted == "boolean" and isinstance(value, str) and value.lower() in ("yes", "no", "on", "off"):
        return "; type true or false"
    if wanted == "string" and isinstance(value, int | bool):
        return "; put it in quotes"
    return ""
