"""The shape of a file: what is told, where, in which words; and that both validators agree."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.documents.files import read_documents
from fleet.documents.strict_yaml import parse_document
from fleet.errors import Problem
from fleet.validate.accepting import accepts, read_item_schemas
from fleet.validate.explaining import explains
from fleet.validate.schema import check_document, text_keys

EXAMPLE = Path(__file__).parents[2] / "inventory"


def check(text: str) -> tuple[list[Problem], frozenset[tuple[str | int, ...]]]:
    document, problems = parse_document(text.encode(), "t.yml", text_keys("inventory"))
    assert problems == []
    assert document is not None
    return check_document(document, "inventory")


def tell(text: str) -> list[str]:
    return [f"{each.location.line}:{each.location.column} {each.code}: {each.message}" for each in check(text)[0]]


ENTITY = "entities:\n  - {{ae_title: A, kind: other, {}}}\n"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("nosuch: 1", "1:1 schema-unknown-key: this file has no key 'nosuch'; it knows"),
        ("entity: []", "1:1 schema-unknown-key: this file has no key 'entity'; did you mean 'entities'?"),
        ("entities: {a: b}", "1:11 schema-type: entities must be a list, not a mapping"),
        ("entities:\n  - x", "2:5 schema-type: an item of entities must be a mapping, not 'x'"),
        ("- a", "1:1 schema-type: this file must be a mapping, not a list"),
        ("entities:\n  - {ae_title: A}", "2:5 schema-missing-key: entities/A lacks kind"),
        ("entities:\n  - {ae_title: , kind: other}", "2:16 schema-type: ae_title must be text, not empty"),
        ("entities:\n  - {ae_title: A, kind: modalty}", "2:25 schema-value: kind: 'modalty' is none of"),
        (ENTITY.format("port: 0104"), "2:38 schema-type: port must be a whole number, not '0104'; a leading zero"),
        (ENTITY.format("port: '104'"), "2:38 schema-type: port must be a whole number, not '104'; take it out of its"),
        (ENTITY.format("port: 70000"), "2:38 schema-value: port: 70000 is above 65535"),
        (ENTITY.format("port: 0"), "2:38 schema-value: port: 0 is below 1"),
        (ENTITY.format("port: 1E3"), "2:38 schema-type: port must be a whole number, not '1E3'"),
        (ENTITY.format("listens: no"), "2:41 schema-type: listens must be true or false, not 'no'; type true or false"),
        (ENTITY.format('address: "10.0.0.1\\n"'), "2:41 schema-value: address: '10.0.0.1\\n' is not of its form"),
        (
            ENTITY.format("adress: x"),
            "2:32 schema-unknown-key: entities/A has no key 'adress'; did you mean 'address'?",
        ),
        (ENTITY.format("provides: [store]"), "2:43 schema-value: provides: 'store' is none of"),
        (ENTITY.format("provides: [print, print]"), "2:42 schema-value: provides: a list names something twice"),
        (ENTITY.format("instances: []"), "2:43 schema-value: instances: a list needs at least 1 item"),
        ("entities:\n  - {kind: other}", "2:5 schema-missing-key: entities/item 1 lacks ae_title"),
        (
            "entities:\n  - {ae_title: A, kind: other, port:104}",
            (
                "2:32 schema-unknown-key: entities/A has no key 'port:104'; "
                "YAML wants a space after the colon: `port: 104`"
            ),
        ),
        (
            "schedules: {a: {timezone: UTC, open: [Mo-Fr 8-20]}}",
            "1:39 schema-value: open: 'Mo-Fr 8-20' is not of its form. A time window: `Mon-Fri 08:00-20:00`",
        ),
        (
            "schedules: {a: {timezone: UTC, open: ['22:00-06:00'], holidays: {as: Sun, dates: [25.12.2026]}}}",
            "1:83 schema-value: dates: '25.12.2026' is not of its form. A date, YYYY-MM-DD.",
        ),
        (ENTITY.format("verify: {timeouts: {acse: 5}}"), "2:58 schema-value: acse: '5' is not of its form. "),
        (ENTITY.format("verify: {timeouts: {acse: 0s}}"), "2:58 schema-value: acse: '0s' is not of its form. "),
        ("hosts: {a b: {address: 10.0.0.1}}", "1:9 schema-key: hosts: the key 'a b' is not of its form"),
        (
            ENTITY.format("shared_title: {reason: a, until: '2027-01-01', move_destination: true}"),
            "2:97 schema-value: ",
        ),
        ("fleet: {name: a, defaults: {kinds: {relays: {}}}}", "1:37 schema-unknown-key: fleet/defaults/kinds has no"),
    ],
)
def test_a_slip_is_told_where_it_stands_and_in_words(text: str, start: str) -> None:
    told = tell(text)
    assert [each for each in told if each.startswith(start)], told
    assert len(told) == 1


# T22
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("address", each) for each in ("-oProxyCommand=x", "a b", "a;b", "$(id)", "10.0.0.1\\n", "a/b", "`id`", "")),
        *(("ssh", f"{{{key}: '{each}'}}") for key in ("user", "jump") for each in ("-oX", "a b", "a;b", "$(id)", "")),
        *(("ssh", f"{{identity_file: '{each}'}}") for each in ("-oX", "a;b", "$(id)", "a\tb", "")),
        ("ssh", "{become: su}"),
    ],
)
def test_a_hosts_words_hold_nothing_that_a_shell_or_ssh_could_misread(setting: str, value: str) -> None:
    typed = f'"{value}"' if setting == "address" else value
    others = "" if setting == "address" else "address: a, "
    assert check(f"site: a\nhosts: {{h: {{{others}{setting}: {typed}}}}}")[0] != []


@pytest.mark.parametrize(
    ("path", "legal"),
    [
        ("/etc/x", True),
        ("/srv/.hidden/..x/a.b@1", True),
        *(
            (path, False)
            for path in ("etc/x", "/", "/a/", "/a//b", "/a/./b", "/a/../b", "/..", "/a b", "/a\\n", "/a$b")
        ),
    ],
)
def test_a_path_on_a_host_is_plain_and_leads_nowhere_else(path: str, legal: bool) -> None:
    text = f'files:\n  - {{template: t, path: "{path}", where: all}}'
    assert (check(text)[0] == []) == legal


def test_the_likely_branch_of_an_either_or_is_told_with_all_its_faults() -> None:
    text = "site: a\nvirtual_services:\n  - {name: a, entity: b, addresses: [{address: x, untl: y}], port: 1}"
    assert [each.split(": ")[0] for each in tell(text)] == ["3:48 schema-value", "3:51 schema-unknown-key"]
    relay = "relays:\n  - entity: a\n    timezone: UTC\n    routes:\n"
    wrong_edit = relay + "      - {name: r, to: {primary: [{ae_title: A}]}, edit: [{set: X}]}"
    assert [each.split(": ")[0] for each in tell(wrong_edit)] == ["5:58 schema-missing-key"]


def test_what_is_broken_is_pointed_to_and_its_neighbours_are_not() -> None:
    _, broken = check("entities:\n  - {ae_title: A, kind: other}\n  - {ae_title: B, kind: x}\nhosts:\n  a: {adress: x}")
    assert broken == {("entities", 1, "kind"), ("hosts", "a"), ("hosts", "a", "adress")}


def test_an_error_in_one_of_many_entities_is_told_once_and_fast() -> None:
    lines = "".join(f"  - {{ae_title: A{number}, kind: other}}\n" for number in range(3000))
    told = tell("entities:\n" + lines + "  - {ae_title: B, kind: x}\n")
    assert [each.split(":")[0] for each in told] == ["3002"]


# T07
def test_a_key_that_only_ever_holds_text_keeps_what_was_typed() -> None:
    keys = text_keys("inventory")
    assert {"ae_title", "name", "address", "description", "until", "calling"} <= keys
    assert not {"port", "listens", "retired", "vars", "labels", "max_studies"} & keys


def test_lists_at_the_top_are_walked_item_by_item() -> None:
    assert {"entities", "flows", "relays", "virtual_services"} <= set(read_item_schemas("inventory"))


def example_values() -> list[Any]:
    documents, problems = read_documents(EXAMPLE, text_keys("inventory"))
    assert problems == []
    return [document.value for document in documents.documents]


EXAMPLES = example_values()
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70000),
    st.sampled_from(["", "\n", "x", "3s", "3s\n", "0s", "10.0.0.1\n", "RW", "2026-01-01", "a b", "é", "A" * 5000, "²"]),
    st.just([]),
    st.just({}),
    st.lists(st.sampled_from(["storage", "print", 1, True]), max_size=3),
    st.dictionaries(st.sampled_from(["name", "address", "a b", "x\n", "until"]), st.text(max_size=3), max_size=2),
)


def places_in(value: Any, steps: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [steps] if steps else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places_in(inner, (*steps, key))
    return found


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_the_two_validators_give_equal_verdicts_on_mutated_documents(data: st.DataObject) -> None:
    value = copy.deepcopy(data.draw(st.sampled_from(EXAMPLES)))
    for _ in range(data.draw(st.integers(0, 2))):
        *path, last = data.draw(st.sampled_from(places_in(value)))
        holder = value
        for step in path:
            holder = holder[step]
        match data.draw(st.sampled_from(["replace", "remove", "add", "double"])):
            case "replace":
                holder[last] = data.draw(ODD)
            case "remove":
                del holder[last]
            case "add" if isinstance(holder, dict):
                holder[data.draw(st.sampled_from(["x", "port", "name", "é", "a\n"]))] = data.draw(ODD)
            case _ if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
        if not isinstance(value, dict) or not value:
            break
    assert accepts(value, "inventory") == explains(value, "inventory")
