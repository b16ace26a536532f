"""What loading makes of layers, sites and places."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.documents.strict_yaml import parse_document
from fleet.inventory.peers import Peers
from fleet.validate.reading import read_inventory
from fleet.validate.schema import text_keys
from tests.inventory.reading import find, read_files, read_text, tell

EXAMPLE = Path(__file__).parents[2] / "inventory"
HOSTS = """
site: north
hosts:
  h1: {address: 10.0.0.1}
  h2: {address: 10.0.0.2, verify: {importance: none}, vars: {a: host, b: host}}
"""


@pytest.mark.parametrize(
    ("entity", "place", "words"),
    [
        ("kind: other", "3:5", "listens nowhere"),
        ("kind: other, address: a", "3:5", "no port"),
        ("kind: other, address: a, port: 1, instances: [{host: h, port: 1}]", "3:41", "both address and instances"),
        ("kind: other, address: a, listens: false, port: 1", "3:66", "listens: false and port"),
        ("kind: other, address: a, listens: false, provides: [storage]", "3:70", "listens: false and provides"),
        ("kind: other, listens: false, instances: [{host: h, port: 1}]", "3:59", "listens: false and instances"),
        ("kind: other, instances: [{host: h}]", "3:44", "no port"),
        ("kind: other, address: a, listens: false, also: [{ae_title: B, listens: true}]", "3:66", "on no port"),
    ],
)
def test_where_an_entity_is_must_be_said_once_and_wholly(tmp_path: Path, entity: str, place: str, words: str) -> None:
    reading = read_text(tmp_path, f"site: north\nentities:\n  - {{ae_title: A, {entity}}}\n")
    line, column = place.split(":")
    assert tell(reading) == [f"a.yml:{int(line) + 1}:{column} entity-place"]
    assert words in reading.problems[0].message


def test_a_title_that_only_sends_ignores_inherited_port_and_services(tmp_path: Path) -> None:
    reading = read_text(
        tmp_path,
        """
        fleet: {name: a, defaults: {port: 104, provides: [storage], tls: {port: 2762}}}
        site: north
        entities:
          - {ae_title: A, kind: other, address: 10.0.0.1, listens: false}
          - {ae_title: B, kind: other, address: 10.0.0.2}
        """,
    )
    assert reading.problems == ()
    assert (find(reading, "A").port, find(reading, "A").provides) == (None, ())
    assert (find(reading, "B").port, find(reading, "B").provides) == (2762, ("storage",))


@pytest.mark.parametrize(
    ("defaults", "own", "port"),
    [
        ("port: 104", "tls: {port: 2762}", 2762),
        ("tls: {port: 2762}", "port: 11112", 11112),
        ("tls: {port: 2762}", "port: 11112, tls: {port: 2763}", 11112),
        ("port: 104", "tls: {}", 104),
    ],
)
def test_tls_port_stands_for_a_port_that_the_entity_does_not_type(
    tmp_path: Path, defaults: str, own: str, port: int
) -> None:
    reading = read_text(
        tmp_path,
        f"fleet: {{name: a, defaults: {{{defaults}}}}}\nsite: n\n"
        f"entities:\n  - {{ae_title: A, kind: other, address: a, {own}}}\n",
    )
    assert find(reading, "A").port == port


def test_titles_are_trimmed_and_keep_their_case(tmp_path: Path) -> None:
    text = "site: n\nentities:\n  - {ae_title: ' Ab ', kind: other, address: a, port: 1, also: [{ae_title: ' c '}]}\n"
    assert find(read_text(tmp_path, text), "Ab").titles == ("Ab", "c")


# T07
@pytest.mark.parametrize("scalar", ["NO", "0123", "1E3", "12:30", "1_1", "2026-01-01", "~", "true", "5"])
def test_a_title_a_label_and_a_variable_stay_what_was_typed(tmp_path: Path, scalar: str) -> None:
    text = (
        f"site: n\nentities:\n  - {{ae_title: {scalar}, kind: other, address: a, port: 1, labels: {{l: {scalar}}}}}\n"
    )
    reading = read_text(tmp_path, text)
    assert reading.problems == ()
    entity = reading.loaded.inventory.entities[0]
    assert (entity.ae_title, entity.labels["l"]) == (scalar, scalar)


def test_an_instance_has_its_own_host_between_site_and_entity(tmp_path: Path) -> None:
    reading = read_text(
        tmp_path,
        HOSTS + "vars: {a: site, b: site, c: site}\nentities:\n  - {ae_title: A, kind: other, port: 1, vars: {a: own},"
        " instances: [{host: h1}, {host: h2, port: 2, address: 10.1.0.2}]}\n",
    )
    assert reading.problems == ()
    first, second = find(reading, "A").instances
    assert dict(first.vars) == {"a": "own", "b": "site", "c": "site"}
    assert dict(second.vars) == {"a": "own", "b": "host", "c": "site"}
    assert (first.verify.importance, second.verify.importance) == ("page", "none")
    assert (first.address, first.port) == ("10.0.0.1", 1)
    assert (second.address, second.port) == ("10.1.0.2", 2)
    assert dict(find(reading, "A").vars) == {"a": "own", "b": "site", "c": "site"}


VARS = st.dictionaries(
    st.sampled_from("abc"), st.integers(0, 9) | st.dictionaries(st.sampled_from("xy"), st.integers(0, 9))
)


@settings(deadline=None)
@given(layers=st.tuples(VARS, VARS, VARS, VARS, VARS))
def test_variables_of_five_layers_are_those_of_a_naive_merge(
    tmp_path_factory: pytest.TempPathFactory, layers: tuple[dict[str, Any], ...]
) -> None:
    fleet, kind, site, host, entity = (json.dumps(layer) for layer in layers)
    reading = read_text(
        tmp_path_factory.mktemp("layers"),
        f"fleet: {{name: a, vars: {fleet}, defaults: {{kinds: {{other: {{vars: {kind}}}}}}}}}\n"
        f"site: n\nvars: {site}\nhosts: {{h: {{address: a, vars: {host}}}}}\nentities:\n"
        f"  - {{ae_title: A, kind: other, vars: {entity}, instances: [{{host: h, port: 1}}]}}\n",
    )
    wanted: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(wanted.get(key), dict)
            wanted[key] = {**wanted[key], **value} if both else value
    assert reading.problems == ()
    assert dict(find(reading, "A").instances[0].vars) == wanted


def test_a_hosts_labels_and_login_are_no_business_of_its_entities(tmp_path: Path) -> None:
    text = "site: n\nhosts: {h: {address: a, labels: {rack: A1}, ssh: {port: 2222}}}\n"
    text += "entities:\n  - {ae_title: A, kind: other, instances: [{host: h, port: 1}]}\n"
    reading = read_text(tmp_path, text)
    assert dict(find(reading, "A").labels) == {}
    assert reading.loaded.inventory.hosts["h"].labels == {"rack": "A1"}


def test_two_files_may_speak_of_one_site(tmp_path: Path) -> None:
    reading = read_files(
        tmp_path,
        {
            "a.yml": "fleet: {name: a}\nsite: n\nlabels: {x: 1}\nvars: {a: 1}\ndefaults: {port: 104}\n",
            "b.yml": "site: n\nlabels: {y: 2}\nvars: {b: 2}\ndefaults: {verify: {importance: none}}\n"
            "entities:\n  - {ae_title: A, kind: other, address: a}\n",
        },
    )
    assert reading.problems == ()
    entity = find(reading, "A")
    assert (dict(entity.labels), dict(entity.vars)) == ({"x": "1", "y": "2"}, {"a": 1, "b": 2})
    assert (entity.port, entity.verify.importance) == (104, "none")


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        ("labels: {x: 1}", "labels: {x: 2}", "b.yml:2:13"),
        ("vars: {x: {y: 1, z: 1}}", "vars: {x: {y: 1, z: 2}}", "b.yml:2:21"),
        ("defaults: {port: 104}", "defaults: {port: 105}", "b.yml:2:18"),
        ("external: true", "external: false", "b.yml:2:11"),
    ],
)
def test_what_two_files_say_of_one_site_must_not_differ(tmp_path: Path, first: str, second: str, place: str) -> None:
    reading = read_files(
        tmp_path, {"a.yml": f"fleet: {{name: a}}\nsite: n\n{first}\n", "b.yml": f"site: n\n{second}\n"}
    )
    assert tell(reading) == [f"{place} site-contradiction"]
    assert reading.problems[0].also[0].document.endswith("a.yml")


def test_equal_words_in_two_files_of_a_site_are_no_contradiction(tmp_path: Path) -> None:
    same = "site: n\nlabels: {x: 1}\ndefaults: {port: 104}\n"
    assert read_files(tmp_path, {"a.yml": "fleet: {name: a}\n" + same, "b.yml": same}).problems == ()


def test_an_entity_needs_a_site_and_only_one(tmp_path: Path) -> None:
    entity = "entities:\n  - {ae_title: A, kind: other, address: a, port: 1}\n"
    assert tell(read_text(tmp_path / "none", entity)) == ["a.yml:3:5 site-missing"]
    own = entity.replace("port: 1", "port: 1, site: south")
    assert tell(read_text(tmp_path / "two", "site: north\n" + own)) == ["a.yml:4:59 site-contradiction"]
    assert find(read_text(tmp_path / "own", own), "A").site == "south"


def test_what_is_said_of_no_site_is_an_error(tmp_path: Path) -> None:
    assert tell(read_text(tmp_path, "vars: {a: 1}\n")) == ["a.yml:2:7 site-missing"]


@pytest.mark.parametrize("key", ["hosts", "groups", "schedules", "certificates"])
def test_a_name_given_twice_is_told_with_both_places(tmp_path: Path, key: str) -> None:
    values = {
        "hosts": "{x: {address: a, site: n}}",
        "groups": "{x: all}",
        "schedules": "{x: {timezone: UTC, open: ['10:00-11:00']}}",
        "certificates": "{x: {}}",
    }
    text = f"{key}: {values[key]}\n"
    reading = read_files(tmp_path, {"a.yml": "fleet: {name: a}\n" + text, "b.yml": text})
    assert [each.code for each in reading.problems] == ["name-duplicate"]
    assert reading.problems[0].location.document.endswith("b.yml")
    assert reading.problems[0].also[0].document.endswith("a.yml")


# T12
def test_a_template_that_leads_out_is_told_where_it_was_named(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    text = "files:\n  - {template: ../secret, path: /etc/x, where: all}\n"
    reading = read_text(tmp_path / "inventory", text)
    assert tell(reading) == ["a.yml:3:16 file-beside"]
    assert reading.loaded.inventory.files[0].source == ""


def test_inherited_maintenance_is_located_where_it_was_typed(tmp_path: Path) -> None:
    times = "{from: '2026-01-01T00:00:00Z', until: '2026-01-02T00:00:00Z', reason: r}"
    text = f"site: n\ndefaults: {{verify: {{maintenance: [{times}]}}}}\nentities:\n"
    text += "  - {ae_title: A, kind: other, address: a, port: 1}\n"
    reading = read_text(tmp_path, text)
    assert str(find(reading, "A").verify.maintenance[0].at("reason")).endswith("a.yml:3:105")


def test_a_date_that_no_calendar_has_is_told(tmp_path: Path) -> None:
    reading = read_text(tmp_path, "retired_titles:\n  - {ae_title: A, until: '2026-02-30'}\n")
    assert tell(reading) == ["a.yml:3:26 date-unknown"]


def test_inherited_engine_settings_run_nothing_by_themselves(tmp_path: Path) -> None:
    text = (
        "fleet: {name: a, defaults: {port: 1, run: {max_pdu: 16384}}}\nsite: n\nhosts: {h: {address: a}}\nentities:\n"
    )
    text += "  - {ae_title: A, kind: other, address: b}\n"
    text += "  - {ae_title: B, kind: other, instances: [{host: h}], run: {engine: storescp, storage_area: /srv}}\n"
    reading = read_text(tmp_path, text)
    assert find(reading, "A").engine == "none"
    run = find(reading, "B").run
    assert run is not None
    assert dict(run.settings) == {"max_pdu": 16384, "storage_area": "/srv"}


def _paths(value: Any, steps: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [steps, *(path for key, inner in items for path in _paths(inner, (*steps, key)))]


def _mutate(data: st.DataObject, value: Any) -> Any:
    """The value with one thing removed, replaced or doubled, somewhere in it."""
    *path, last = data.draw(st.sampled_from([steps for steps in _paths(value) if steps]))
    holder = value
    for step in path:
        holder = holder[step]
    match data.draw(st.sampled_from(["replace", "remove", "double"])):
        case "remove":
            del holder[last]
        case "double" if isinstance(holder, list):
            holder.append(holder[last])
        case _:
            holder[last] = data.draw(st.sampled_from([None, True, 0, -5, "x", "", "A B", [], {}, ["x"], {"x": 1}]))
    return value


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_slip_in_a_good_inventory_makes_loading_raise(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("mutated")
    shutil.copytree(EXAMPLE, root, dirs_exist_ok=True)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(sorted(root.rglob("*.yml"))))
        document, _problems = parse_document(path.read_bytes(), "", text_keys("inventory"))
        if document is not None and document.value:
            path.write_text(json.dumps(_mutate(data, document.value)))
    inventory = read_inventory(root).loaded.inventory
    peers = Peers(inventory)
    assert all(peers.callers_of(entity) is not None for entity in inventory.entities)
