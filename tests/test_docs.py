"""The README is true today: its verbs exist, its output is what the program prints, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.cli.main import VERBS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fleet(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("fleet")
    command = [str(program), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_every_verb_is_in_the_readme() -> None:
    missing = [verb for verb in VERBS if f"`{verb}`" not in README and f"fleet {verb}" not in README]
    assert not missing


def test_every_verb_that_the_readme_types_exists() -> None:
    typed = set(re.findall(r"(?:`|\$ )fleet ([a-z][a-z-]+)", README))
    assert typed <= set(VERBS)


def test_the_ten_lines_print_what_the_readme_shows(tmp_path: Path) -> None:
    assert fleet(tmp_path, "init", "hospital").returncode == 0
    done = fleet(tmp_path / "hospital", "validate")
    assert done.returncode == 0
    assert done.stdout.strip() in README


def test_the_mistake_prints_what_the_readme_shows(tmp_path: Path) -> None:
    assert fleet(tmp_path, "init", "hospital").returncode == 0
    path = tmp_path / "hospital" / "inventory" / "boxes.yml"
    entity = "  - {ae_title: WS_1, name: floor-%d, kind: workstation, address: 127.0.0.%d}\n"
    path.write_text("site: main\nentities:\n" + entity % (1, 1) + entity % (2, 2), encoding="utf-8")
    done = fleet(tmp_path / "hospital", "validate")
    assert done.returncode == 2
    said = " ".join(done.stdout.split())
    shown = "takes the first match, so images silently go to the other machine"
    assert shown in said
    assert shown in " ".join(README.split())


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((docs/[^)#]+)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_exit_statuses_are_those_of_the_program() -> None:
    done = fleet(ROOT, "--help")
    for status, words in (("1", "could not do its work"), ("3", "are pending"), ("64", "wrong usage")):
        assert re.search(rf"\| {status} \|.*{words}", README), status
        assert words in " ".join(done.stdout.split())


def test_decisions_are_dated_and_short() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert pages
    for page in pages:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 40, page
        assert re.search(r"\(20\d\d-\d\d-\d\d\)", lines[0]), page
