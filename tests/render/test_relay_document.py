"""What of a relay's settings and destinations reaches its file."""

import json
from pathlib import Path

import jsonschema
import pytest

from fleet.documents.packaged import read_schema
from fleet.relay.config import check_shape
from tests.render.building import build

TEXT = """\
fleet: {name: t}
site: n
hosts: {h1: {address: 10.0.0.1}}
entities:
  - {ae_title: R, kind: relay, provides: [storage], instances: [{host: h1, port: 104}], run: {engine: relay MORE}}
  - {ae_title: A, kind: archive, address: 10.0.0.2, port: 104, provides: [storage]}
flows: [{from: R, to: A, services: [storage]}]
schedules: {day: {timezone: Europe/Lisbon, open: ["Mon-Fri 07:00-19:00"]}}
relays:
  - entity: R
    timezone: Europe/Lisbon
    routes:
      - {name: one, to: {primary: [{ae_title: A, RATES}]}}
      - {name: two, to: {primary: [{ae_title: A, OTHER}]}}
"""
RATES = "rates: [{during: day, bytes_per_s: 2000000}, {instances_per_s: 20}]"


def render(folder: Path, more: str = "", rates: str = RATES, other: str = "backup_after: 1m") -> dict[str, object]:
    text = TEXT.replace(" MORE", more).replace("RATES", rates).replace("OTHER", other)
    document: dict[str, object] = json.loads(build(folder, text).file("h1", "/etc/fleet/relay-R.json").content)
    jsonschema.Draft202012Validator(read_schema("relay")).validate(document)
    assert check_shape(document) == ()
    return document


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", {"keep_s": 86400.0, "max_bytes": None}),
        (", keep_delivered: 48h, keep_delivered_bytes: 500", {"keep_s": 172800.0, "max_bytes": 500}),
    ],
)
def test_how_long_delivered_instances_are_kept(tmp_path: Path, more: str, expected: dict[str, object]) -> None:
    assert render(tmp_path, more)["retention"] == expected


def test_rates_are_the_destinations_whatever_route_says_them(tmp_path: Path) -> None:
    destinations = render(tmp_path)["destinations"]
    assert isinstance(destinations, dict)
    day = {"timezone": "Europe/Lisbon", "open": ["Mon-Fri 07:00-19:00"], "holidays": None}
    assert destinations["A"]["rates"] == [
        {"during": day, "bytes_per_s": 2_000_000, "instances_per_s": None},
        {"during": None, "bytes_per_s": None, "instances_per_s": 20},
    ]


def test_a_destination_that_one_route_asks_for_commitment_is_asked_for_all(tmp_path: Path) -> None:
    text = TEXT.replace("port: 104, provides: [storage]}", "port: 104, provides: [storage, storage-commitment]}")
    text = text.replace(" MORE", "").replace("RATES", "backup_after: 1m").replace("OTHER", "commitment: true")
    document = json.loads(build(tmp_path, text).file("h1", "/etc/fleet/relay-R.json").content)
    assert document["destinations"]["A"]["commitment"] is True
    assert check_shape(document) == ()


def test_two_routes_that_give_one_destination_different_rates_are_told(tmp_path: Path) -> None:
    text = TEXT.replace(" MORE", "").replace("RATES", RATES).replace("OTHER", "rates: [{bytes_per_s: 50000}]")
    problems = build(tmp_path, text).render_problems()
    assert any("different `rates`" in problem for problem in problems)
