"""The relay's own check of its file, held to the schema's verdicts."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.errors import FleetError
from fleet.relay.config import ConfigError, check_shape, parse_config, read_config
from fleet.validate.accepting import accepts
from tests.relay.configs import make_destination, make_document, make_full_document, make_route

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 1.0, 1.5, 65536, 131073, 1e300, "", " ", "x", "X", "A" * 16, "A" * 17, "A\\B", "CT1 ",
    "/", "/a", "/a\n", "a\n", "é", "PatientName", "PatientName\n", "2026-01-01", "2026-01-01\n", "Sun", "skip", "all",
    "fleet.relay/1", "fleet.relay/2", [], [[]], ["x"], ["x", "x"], [1], {}, {"x": 1}, {"matches": None}, {"text": ""},
    "basic", "storage", "Mon-Fri 08:00-20:00", "x" * 41, "Europe/Amsterdam",
]  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a document."""
    yield at
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*at, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, (*at, index))


FULL = make_full_document()
PLACES = list(places(FULL))[1:]


def mutate(document: Any, place: tuple[Any, ...], change: str, odd: Any) -> None:
    for step in place[:-1]:
        if not isinstance(document, dict | list) or (isinstance(document, dict) and step not in document):
            return
        if isinstance(document, list) and (not isinstance(step, int) or step >= len(document)):
            return
        document = document[step]
    last = place[-1]
    if isinstance(document, dict) and isinstance(last, str):
        if change == "drop":
            document.pop(last, None)
        elif change == "add":
            document["surplus"] = odd
        else:
            document[last] = odd
    elif isinstance(document, list) and isinstance(last, int) and last < len(document):
        if change == "drop":
            del document[last]
        elif change == "add":
            document.append(odd)
        else:
            document[last] = odd


@pytest.mark.parametrize("document", [FULL, make_document()])
def test_a_rendered_document_is_taken_by_both(document: dict[str, Any]) -> None:
    assert accepts(document, "relay")
    assert check_shape(document) == ()


@pytest.mark.parametrize("change", ["drop", "add", "replace"])
def test_each_place_changed_gets_the_verdict_of_the_schema(change: str) -> None:
    for place in PLACES:
        for odd in ODD if change == "replace" else [1, "x"]:
            document = copy.deepcopy(FULL)
            mutate(document, place, change, odd)
            assert (check_shape(document) == ()) == accepts(document, "relay"), (place, change, odd)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(["drop", "add", "replace"]), st.sampled_from(ODD)),
        min_size=2,
        max_size=4,
    )
)
def test_several_changes_get_the_verdict_of_the_schema(changes: list[tuple[Any, str, Any]]) -> None:
    document = copy.deepcopy(FULL)
    for place, change, odd in changes:
        mutate(document, place, change, copy.deepcopy(odd))
    assert (check_shape(document) == ()) == accepts(document, "relay")


def test_every_problem_is_told_at_once_with_its_place() -> None:
    document = make_document(max_pdu_bytes=1, surprise=True)
    with pytest.raises(ConfigError) as raised:
        parse_config(json.dumps(document).encode(), "relay.json")
    assert "/surprise: unknown here" in str(raised.value)
    assert "/max_pdu_bytes: a whole number of 4096 to 131072" in str(raised.value)


def test_a_slip_in_a_key_or_a_destination_is_told_with_what_was_meant() -> None:
    document = make_document(retension={})
    with pytest.raises(ConfigError, match="/retension: unknown here; did you mean 'retention'"):
        parse_config(json.dumps(document).encode(), "relay.json")
    document = make_document(routes=[make_route(to="ARCHIV")])
    with pytest.raises(ConfigError, match="'ARCHIV' is no key of /destinations; did you mean 'ARCHIVE'"):
        parse_config(json.dumps(document).encode(), "relay.json")


def test_a_destination_that_leads_nowhere_and_twin_names_are_refused() -> None:
    document = make_document(routes=[make_route(), make_route(to="NOWHERE")])
    document["destinations"]["OTHER"] = make_destination("ANOTHER")
    with pytest.raises(ConfigError) as raised:
        parse_config(json.dumps(document).encode(), "relay.json")
    assert len(raised.value.problems) == 4


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000])
def test_what_is_no_json_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(ConfigError, match="not JSON"):
        parse_config(data, "relay.json")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="cannot be read: No such file"):
        read_config(tmp_path / "none.json")


def test_every_key_reaches_the_value() -> None:
    config = parse_config(json.dumps(FULL).encode(), "relay.json")
    route = config.routes[0]
    assert route.when.wait_for_study_s == 60
    assert route.when.during is not None
    assert route.when.during.holiday_dates == ("2026-12-25",)
    assert route.deidentify is not None
    assert route.primary[0].backup_after_s == 60.5
    assert config.destinations["ARCHIVE"].tls is not None
    assert len(route.edit) == 3


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"drain_timeout_s": 10**400}, "/drain_timeout_s"),
        ({"drain_timeout_s": 1e300}, "/drain_timeout_s"),
        ({"max_pdu_bytes": 10**400}, "/max_pdu_bytes"),
        ({"retention": {"keep_s": 1e10, "max_bytes": None}}, "/retention/keep_s"),
        ({"timeouts_s": {"connect": 0, "acse": 5}}, "/destinations/ARCHIVE/timeouts_s"),
        ({"timeouts_s": {"connect": 5, "acse": 1e12}}, "/destinations/ARCHIVE/timeouts_s"),
    ],
)
def test_times_that_no_clock_counts_to_are_refused_and_end_nothing(change: dict[str, Any], where: str) -> None:
    document = make_document()
    (document["destinations"]["ARCHIVE"] if "timeouts_s" in change else document).update(change)
    with pytest.raises(ConfigError, match=where):
        parse_config(json.dumps(document).encode(), "relay.json")


@pytest.mark.parametrize("place", ["spool", "name", "key"])
def test_half_a_surrogate_pair_is_told_and_not_met_by_a_system_call(place: str, tmp_path: Path) -> None:
    document = make_document(tmp_path / "spool")
    if place == "spool":
        document["spool"] += "/\ud800"
    elif place == "name":
        document["callers"][0]["addresses"] = ["\udfff.example"]
    else:
        document["destinations"]["\ud800"] = document["destinations"]["ARCHIVE"]
    with pytest.raises(ConfigError, match="half of a surrogate pair"):
        parse_config(json.dumps(document).encode(), "relay.json")
