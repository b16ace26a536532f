"""Every rule rejects its bad samples at the very place, and lets its good ones pass.

A case is a file (or a folder of them) below `tests/cases/rules/CODE/`; what it is to say stands at its end:
`# expect: LINE:COLUMN severity[code]`. What products say of a case beside the point is told in their own tests.
"""

import re
from datetime import date
from pathlib import Path

import pytest

from fleet.errors import Problem
from fleet.inventory.peers import Peers
from fleet.secrets.vault import Vault
from fleet.validate.check import all_codes, check_inventory
from fleet.validate.reading import read_inventory
from fleet.validate.removal import CODE as REMOVAL
from tests.validate.write_certificates import PASSWORD

CASES = Path(__file__).parent.parent / "cases" / "rules"
DOCS = Path(__file__).parent.parent.parent / "docs" / "problems.md"
TODAY = date(2026, 11, 20)
EXPECTED = re.compile(r"^# expect: (\d+):(\d+) (error|warning)\[([a-z-]+)\]$", re.MULTILINE)

Finding = tuple[str, int, int, str, str]


@pytest.fixture(autouse=True)
def _key_that_others_may_read() -> None:
    """A checkout has the modes of whoever checked out."""
    (CASES / "certificate-key-shared" / "clear.key").chmod(0o644)


def cases() -> list[Path]:
    """Every sample; beside them lie the files that they name."""
    found = [path for code in sorted(CASES.iterdir()) for path in sorted(code.iterdir())]
    return [path for path in found if path.is_dir() or path.suffix == ".yml"]


def name_of(case: Path) -> str:
    return f"{case.parent.name}/{case.name.removesuffix('.yml')}"


def files_of(case: Path) -> list[Path]:
    return [case] if case.is_file() else sorted(case.glob("*.yml"))


def expected(case: Path) -> list[Finding]:
    return sorted(
        (path.name, int(line), int(column), severity, code)
        for path in files_of(case)
        for line, column, severity, code in EXPECTED.findall(path.read_text(encoding="utf-8"))
    )


def problems_of(case: Path, today: date = TODAY) -> list[Problem]:
    reading = read_inventory(case, Vault(lambda: PASSWORD))
    inventory = reading.loaded.inventory
    return [*reading.problems, *check_inventory(inventory, Peers(inventory), today)]


def found(case: Path) -> list[Finding]:
    about_targets = case.parent.name.startswith("target-")
    return sorted(
        (Path(each.location.document).name, each.location.line, each.location.column, each.severity.value, each.code)
        for each in problems_of(case)
        if about_targets or not each.code.startswith("target-")
    )


@pytest.mark.parametrize("case", cases(), ids=name_of)
def test_a_sample_says_exactly_what_it_expects_and_where(case: Path) -> None:  # T18 (table)
    assert found(case) == expected(case)
    codes = {code for *_, code in expected(case)}
    assert (case.parent.name in codes) is case.name.startswith("bad"), (
        "a bad sample shows its code, a good one does not"
    )


@pytest.mark.parametrize("code", all_codes())
def test_a_code_has_samples_that_fail_and_pass_and_a_page(code: str) -> None:
    kinds = {path.name.split("-")[0] for path in (CASES / code).iterdir() if path in cases()}
    assert kinds == {"good", "bad"}
    assert f"### `{code}`\n" in DOCS.read_text(encoding="utf-8")


def test_every_folder_of_samples_belongs_to_a_code() -> None:
    assert {path.name for path in CASES.iterdir()} == set(all_codes())


def test_the_page_of_problems_names_no_code_that_is_not_there() -> None:
    named = set(re.findall(r"^### `([a-z-]+)`$", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {*all_codes(), REMOVAL}


@pytest.mark.parametrize("case", [case for case in cases() if case.name.startswith("bad")], ids=name_of)
def test_every_problem_says_what_it_is_what_it_does_and_what_to_do(case: Path) -> None:
    for problem in problems_of(case):
        if problem.code in all_codes() and not problem.code.startswith("target-"):
            assert problem.message.count("; ") >= 1, problem.message
            assert problem.subjects, problem.message
            assert all(place.line for place in problem.also), problem.message
            assert all(str(place) in problem.message for place in problem.also[:1]), problem.message
