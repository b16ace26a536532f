"""A team's templates are parsed when the inventory is validated, and run by nobody."""

from pathlib import Path

import pytest

from fleet.errors import Problem
from fleet.workflow.context import Context
from fleet.workflow.rendering import read_with_templates

HEAD = """\
fleet: {name: t}
site: a
hosts: {h1: {address: 10.0.0.1}}
files:
"""


def check(folder: Path, templates: dict[str, str]) -> tuple[Problem, ...]:
    """The problems of an inventory whose hosts get a file of every template whose name begins with `file`."""
    inventory = folder / "inventory"
    (inventory / "templates").mkdir(parents=True)
    named = [name for name in templates if name.startswith("file")]
    lines = [f"  - {{template: templates/{name}.j2, path: /srv/{name}.txt, where: all}}\n" for name in named]
    (inventory / "fleet.yml").write_text(HEAD + "".join(lines), encoding="ascii")
    for name, text in templates.items():
        (inventory / f"templates/{name}.j2").write_text(text, encoding="utf-8")
    reading = read_with_templates(Context(inventory, folder / "history"))
    return tuple(problem for problem in reading.problems if problem.code == "template-failed")


@pytest.mark.parametrize(
    ("source", "line", "said"),
    [
        ("one\n{% if x %}\ntwo\n", 3, "Unexpected end of template"),
        ("one\n\n{{ x | nofilter }}\n", 3, "No filter named 'nofilter'"),
        ("{{ x\n", 1, "unexpected end of template"),
        ("one\nt\u202ewo\n", 2, "U+202E, which nobody sees"),
    ],
)
def test_a_template_that_cannot_be_parsed_is_told_with_its_file_and_line(
    tmp_path: Path, source: str, line: int, said: str
) -> None:
    (problem,) = check(tmp_path, {"file": source})
    assert (problem.location.document, problem.location.line) == (str(tmp_path / "inventory/templates/file.j2"), line)
    assert said in problem.message


def test_a_template_is_parsed_and_not_run(tmp_path: Path) -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{{ nobody.knows }}{% endfor %}{% endfor %}\n"
    assert check(tmp_path, {"file": endless}) == ()


def test_what_a_template_includes_is_parsed_too(tmp_path: Path) -> None:
    (problem,) = check(tmp_path / "one", {"file": '{% include "part.j2" %}\n', "part": "one\n{{ x\n"})
    assert (Path(problem.location.document).name, problem.location.line) == ("part.j2", 2)
    (problem,) = check(tmp_path / "two", {"file": 'one\n{% include "nobody.j2" %}\n'})
    assert "there is no template 'nobody.j2'" in problem.message


def test_a_template_over_one_of_ours_is_parsed_though_no_file_names_it(tmp_path: Path) -> None:
    assert check(tmp_path / "one", {"other.unused": "{{ x\n"}) == ()
    (problem,) = check(tmp_path / "two", {"keepalived.conf": "one\n{% endfor %}\n"})
    assert (Path(problem.location.document).name, problem.location.line) == ("keepalived.conf.j2", 2)


def test_one_mistake_in_a_part_of_two_templates_is_told_once(tmp_path: Path) -> None:
    include = '{% include "part.j2" %}\n'
    assert len(check(tmp_path, {"file": include, "file2": include, "part": "{{ x\n"})) == 1
