"""Layers: any layering equals a naive merge, and `probe` travels with its `reason`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory.model import NO_ORIGIN
from fleet.inventory.settings import Layer, explain, labels_of, merge, merge_layers, parse_duration

LEAF = st.one_of(st.integers(0, 3), st.booleans(), st.sampled_from(["x", "y"]), st.lists(st.integers(0, 2), max_size=2))
SETTING = st.recursive(
    st.dictionaries(st.sampled_from("abc"), LEAF, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner | LEAF, max_size=3),
    max_leaves=12,
)
NAMES = ("fleet", "kind", "site", "host", "entity")


def leaves(value: dict[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every value that is no mapping, by its path."""
    found: dict[tuple[str, ...], Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            found |= leaves(inner, (*path, key))
        else:
            found[(*path, key)] = inner
    return found


def naive(layers: list[dict[str, Any]]) -> dict[tuple[str, ...], Any]:
    """One path after another: what a layer says takes away whatever stood there, above it or below it."""
    result: dict[tuple[str, ...], Any] = {}
    for layer in layers:
        for path, value in leaves(layer).items():
            empty_over_mapping = value == {} and any(known[: len(path)] == path and known != path for known in result)
            if empty_over_mapping or (value == {} and result.get(path) == {}):
                continue
            related = [known for known in result if known[: len(path)] == path or path[: len(known)] == known]
            for known in related:
                del result[known]
            result[path] = value
    return result


@given(st.lists(SETTING, min_size=1, max_size=5))
def test_any_layering_equals_a_naive_merge(values: list[dict[str, Any]]) -> None:
    layers = tuple(Layer(name, value, NO_ORIGIN) for name, value in zip(NAMES, values, strict=False))
    assert leaves(merge_layers(layers)) == naive(values)


@given(SETTING, SETTING)
def test_merging_changes_neither_side(lower: dict[str, Any], upper: dict[str, Any]) -> None:
    before = (repr(lower), repr(upper))
    merge(lower, upper)
    assert (repr(lower), repr(upper)) == before


@pytest.mark.parametrize(
    ("lower", "upper", "result"),
    [
        ({"probe": "never", "reason": "r"}, {"probe": "always"}, {"probe": "always"}),
        ({"probe": "never", "reason": "r"}, {"probe": "q", "reason": "s"}, {"probe": "q", "reason": "s"}),
        ({"probe": "never", "reason": "r"}, {"reason": "s"}, {"probe": "never", "reason": "s"}),
        (
            {"probe": "never", "reason": "r"},
            {"importance": "none"},
            {"probe": "never", "reason": "r", "importance": "none"},
        ),
    ],
)
def test_probe_and_reason_travel_together(lower: dict[str, str], upper: dict[str, str], result: dict[str, str]) -> None:
    assert merge({"verify": lower}, {"verify": upper}) == {"verify": result}


def test_a_variable_called_probe_has_no_reason_to_lose() -> None:
    assert merge({"vars": {"reason": 1}}, {"vars": {"probe": 2}}) == {"vars": {"reason": 1, "probe": 2}}


@given(st.lists(SETTING, min_size=1, max_size=5), st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple))
def test_an_explanation_gives_what_holds_and_names_the_layer_that_won(
    values: list[dict[str, Any]], path: tuple[str, ...]
) -> None:
    layers = tuple(Layer(name, value, NO_ORIGIN) for name, value in zip(NAMES, values, strict=False))
    merged: Any = merge_layers(layers)
    for key in path:
        merged = merged.get(key) if isinstance(merged, dict) else None
    found = explain(layers, path)
    if found is None:
        assert merged is None
    elif merged is not None and not isinstance(merged, dict):
        assert found.value == merged == found.said[-1][1]


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("3s", 3.0), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("1d", 86400.0)]
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_labels_of_several_layers_are_text_as_typed() -> None:
    assert labels_of({"a": 1, "b": True}, {"a": "x"}) == {"a": "x", "b": "true"}
