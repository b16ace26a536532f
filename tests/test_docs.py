"""The README is true today: its verbs exist, its output is what the program prints, its links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.main import VERBS
from fleet.documents.packaged import read_schema
from fleet.playbook import read_playbook
from fleet.validate.check import all_codes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fleet(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("fleet")
    command = [str(program), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_every_verb_is_in_the_readme() -> None:
    missing = [verb for verb in VERBS if f"`{verb}`" not in README and f"fleet {verb}" not in README]
    assert not missing


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_there_are_as_many_cross_checks_as_the_pages_say(page: str) -> None:
    """In tens, so that one more does not make a page wrong; docs/problems.md has a section for each."""
    said = re.findall(r"more than (\d+) cross-checks", (ROOT / page).read_text(encoding="utf-8"))
    assert [int(number) for number in said] == [(len(all_codes()) - 1) // 10 * 10]


def test_every_verb_that_the_readme_types_exists() -> None:
    typed = set(re.findall(r"(?:`|\$ )fleet ([a-z][a-z-]+)", README))
    assert typed <= set(VERBS)


def test_the_ten_lines_print_what_the_readme_shows(tmp_path: Path) -> None:
    assert fleet(tmp_path, "init", "hospital").returncode == 0
    done = fleet(tmp_path / "hospital", "validate")
    assert done.returncode == 0
    assert done.stdout.strip() in README


def test_the_mistake_prints_what_the_readme_shows_word_for_word(tmp_path: Path) -> None:
    block = README.split("## What a mistake looks like")[1].split("```console\n")[1].split("```")[0]
    shown = [part.partition("\n") for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    assert [command for command, _, _ in shown] == [
        "cat inventory/boxes.yml",
        "fleet validate",
        "fleet apply --yes > /dev/null",
    ]
    assert fleet(tmp_path, "init", "hospital").returncode == 0
    (tmp_path / "hospital" / "inventory" / "boxes.yml").write_text(shown[0][2], encoding="utf-8")
    for command, _, output in shown:
        assert type_(command, tmp_path / "hospital", tmp_path) == output, command


def type_(command: str, folder: Path, state: Path) -> str:
    """What a shell shows for it, on both of its streams."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "XDG_STATE_HOME": str(state / "state")}
    shell = ["sh", "-c", command]
    both = subprocess.run(
        shell, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
    )
    return both.stdout.decode()


def test_what_the_readme_calls_not_built_is_refused_as_it_says(tmp_path: Path) -> None:
    assert fleet(tmp_path, "init", ".").returncode == 0
    for words in (["check"],):
        done = fleet(tmp_path, *words)
        assert (done.returncode, "No such" in done.stderr) == (64, True)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((docs/[^)#]+)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_exit_statuses_are_those_of_the_program() -> None:
    done = fleet(ROOT, "--help")
    for status, words in (("1", "could not do its work"), ("3", "are pending"), ("64", "wrong usage")):
        assert re.search(rf"\| {status} \|.*{words}", README), status
        assert words in " ".join(done.stdout.split())


PAGES = sorted((ROOT / "docs").glob("*.md"))
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_is_in_the_readme(page: Path) -> None:
    assert f"(docs/{page.name})" in README


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS], ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_decisions_are_dated_and_short() -> None:
    assert DECISIONS
    for page in DECISIONS:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 40, page
        assert re.fullmatch(rf"# {int(page.name[:4])}\. .+ \(20\d\d-\d\d-\d\d\)", lines[0]), page


def test_the_index_of_decisions_has_each_page_under_its_own_heading() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\d+) \| \[(.+)\]\((.+)\) \| ([0-9-]+) \|$", index, flags=re.MULTILINE)
    heads = [(page.read_text(encoding="utf-8").splitlines()[0], page.name) for page in DECISIONS]
    assert [(f"# {number}. {title} ({date})", name) for number, title, name, date in listed] == heads


def keys_in(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(keys_in, schema))
    if not isinstance(schema, dict):
        return set()
    own = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
    return own.union(*map(keys_in, schema.values()))


def test_every_key_of_a_playbook_is_on_its_page() -> None:
    page = (ROOT / "docs" / "playbooks.md").read_text(encoding="utf-8")
    assert keys_in(read_schema("playbook")) - set(re.findall(r"`([a-z_]+)`", page)) == set()


def test_the_playbook_on_its_page_can_be_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "playbooks.md").read_text(encoding="utf-8")
    path = tmp_path / "mine.yml"
    path.write_text(page.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    (play,) = read_playbook(path)
    assert [step.verb for step in play.steps] == ["validate", "plan", "apply", "verify"]
