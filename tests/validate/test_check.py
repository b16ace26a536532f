"""All rules together: one order, no clock, nothing raised, and nothing said twice about what is broken."""

from datetime import date
from pathlib import Path

import pytest

from fleet.errors import Problem, Severity
from fleet.inventory.peers import Peers
from fleet.validate.check import all_codes, check_inventory, waivable_codes
from fleet.validate.reading import read_inventory
from fleet.validate.rules.catalogue import RULES

TODAY = date(2026, 11, 20)
EXAMPLE = Path(__file__).parent.parent.parent / "inventory"
HEAD = "fleet: {name: t}\nsite: a\nprobers: [{ae_title: FLEET_SCU, addresses: [10.0.0.5]}]\n"


def check(root: Path, today: date = TODAY) -> tuple[Problem, ...]:
    inventory = read_inventory(root).loaded.inventory
    return check_inventory(inventory, Peers(inventory), today)


def write(root: Path, text: str) -> Path:
    path = root / "a.yml"
    path.write_text(HEAD + text, encoding="utf-8")
    return path


def test_the_example_hospital_has_no_error() -> None:
    assert [str(problem) for problem in check(EXAMPLE) if problem.severity is Severity.ERROR] == []


def test_problems_come_sorted_and_the_same_each_time() -> None:
    problems = check(EXAMPLE)
    assert list(problems) == sorted(problems, key=lambda problem: problem.sort_key)
    assert problems == check(EXAMPLE)


def test_a_code_belongs_to_one_rule() -> None:
    codes = [code for rule in RULES for code in rule.CODES]
    assert len(codes) == len(set(codes))
    assert all(code in rule.CODES for rule in RULES for code in rule.WAIVABLE)


def test_duplicate_titles_can_never_be_waived() -> None:
    waivable = waivable_codes()
    assert not waivable["ae-title-duplicate"]
    assert not waivable["ae-title-case-twin"]
    assert set(waivable) < set(all_codes())


def test_an_empty_inventory_has_nothing_wrong(tmp_path: Path) -> None:
    assert check(write(tmp_path, "")) == ()


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = """
hosts:
  h1: {address: 10.0.0.300}
entities:
  - {ae_title: CT1, kind: modality, address: 10.0.1.1, port: 104}
  - {ae_title: CT1, kind: modality, address: 10.0.1.1, port: 104}
flows: [{from: kind=printer, to: CT1, services: [storage]}]
"""
    codes = {problem.code for problem in check(write(tmp_path, text))}
    assert codes == {
        "address-malformed",
        "ae-title-duplicate",
        "host-key-missing",
        "place-duplicate",
        "selector-matches-nothing",
    }


def test_what_is_broken_is_not_called_unknown(tmp_path: Path) -> None:
    text = """
hosts:
  h1: {adress: 10.0.0.11}
entities:
  - {ae_title: A_PACS, kind: archive, instances: [{host: h1, port: 11112}]}
  - {ae_title: A_RELAY, kind: relai, address: 10.0.0.12, port: 104}
flows: [{from: A_RELAY, to: A_PACS, services: [storage]}, {from: kind=relay, to: A_PACS, services: [storage]}]
"""
    codes = [problem.code for problem in check(write(tmp_path, text))]
    assert "unknown-host" not in codes
    assert "selector-matches-nothing" not in codes


def test_a_file_that_is_no_yaml_makes_no_reference_unknown(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text("site: b\nentities: [{\n", encoding="utf-8")
    write(tmp_path, "flows: [{from: B_CT1, to: B_PACS, services: [storage]}]\nvirtual_services:\n"
          "  - {name: pacs, entity: B_PACS, addresses: [10.0.0.100], port: 104, via: external}\n")  # fmt: skip
    assert [problem.code for problem in check(tmp_path)] == ["not-checked"]


def test_a_typo_is_still_told_while_something_else_is_broken(tmp_path: Path) -> None:
    text = """
entities:
  - {ae_title: CT1, kind: modality, address: 10.0.1.1, port: 0104}
  - {ae_title: CT2, kind: modality, address: 10.0.1.2, port: 104, verify: {from: nowhere}}
"""
    assert "unknown-host" in [problem.code for problem in check(write(tmp_path, text))]


@pytest.mark.parametrize("day", [date(1, 1, 1), date(2026, 2, 28), date(9998, 12, 31)])
def test_any_day_may_be_today(day: date) -> None:
    assert check(EXAMPLE, day) is not None


def test_a_waiver_takes_only_what_its_selector_selects(tmp_path: Path) -> None:
    text = """
hosts:
  h1: {address: 10.0.0.11}
  h2: {address: 10.0.0.12}
waivers: [{code: host-key-missing, where: h1, reason: new, until: 2026-11-20}]
"""
    (problem,) = check(write(tmp_path, text))
    assert problem.subjects == ("h2",)


def test_an_expired_waiver_makes_a_warning_an_error_that_says_so(tmp_path: Path) -> None:
    text = """
hosts:
  h1: {address: 10.0.0.11}
waivers: [{code: host-key-missing, where: h1, reason: new, until: 2026-11-19}]
"""
    (problem,) = check(write(tmp_path, text))
    assert problem.severity is Severity.ERROR
    assert "waived until 2026-11-19 (new" in problem.message
    assert problem.also[-1].line == 7


OLD = "  - {code: host-key-missing, where: h1, reason: old, until: 2026-11-19}\n"
NEW = "  - {code: host-key-missing, where: all, reason: new, until: 2026-12-31}\n"


@pytest.mark.parametrize("waivers", [OLD + NEW, NEW + OLD])
def test_a_waiver_that_still_holds_helps_where_another_is_over(tmp_path: Path, waivers: str) -> None:
    assert check(write(tmp_path, f"hosts:\n  h1: {{address: 10.0.0.11}}\nwaivers:\n{waivers}")) == ()
