"""A secret reaches a file's bytes through one filter and nothing else; templates and errors never see it."""

from pathlib import Path

import pytest

from fleet.errors import FleetError, TemplateError, UnfitValue
from fleet.render.artifacts import Content
from fleet.render.engine import Templates
from fleet.render.formats import FORMATS
from fleet.render.hosts import render_fleet
from fleet.render.limits import render_fleet_limited
from fleet.render.slots import Slot, seal
from fleet.secrets.secret import SealedSecret, Secret
from fleet.secrets.vault import Vault
from tests.render.building import build
from tests.secrets.test_in_documents import vault_value

CANARY = "canary47"


def render(source: str, format_name: str = "text", clear: str = CANARY) -> Content:
    values = {"vars": seal({"pw": Secret(clear), "deep": {"list": [1, Secret(clear)]}, "plain": "x"}), "s": "y"}
    return Templates(None).render_source(source, "mine.j2", FORMATS[format_name], values, host="h1")


def shown(content: Content) -> list[str]:
    return [content.text[start:end] for start, end in content.secrets]


@pytest.mark.parametrize(
    ("source", "format_name", "text"),
    [
        ("a {{ vars.pw | line }} b\n", "text", f"a {CANARY} b\n"),
        ("{{ vars.pw | word }}{{ vars.pw | word }}", "keepalived", CANARY * 2),
        ("x={{ vars['pw'] | sh }}", "sh", f"x={CANARY}"),
        ("{{ vars.pw | json }}", "json", f'"{CANARY}"'),
        ("{{ vars.deep | json }}", "json", f'{{\n  "list": [\n    1,\n    "{CANARY}"\n  ]\n}}'),
        ("{{ vars | line }}", "text", f"{{'pw': '{CANARY}', 'deep': {{'list': [1, '{CANARY}']}}, 'plain': 'x'}}"),
        ("{{ vars.values() | line }}", "text", f"['{CANARY}', {{'list': [1, '{CANARY}']}}, 'x']"),
        (
            "{{ vars.items() | line }}",
            "text",
            f"[['pw', '{CANARY}'], ['deep', {{'list': [1, '{CANARY}']}}], ['plain', 'x']]",
        ),
        ("{% for each in vars.deep.list %}{{ each | json }};{% endfor %}", "json", f'1;"{CANARY}";'),
        ("{{ vars.absent | default(vars.pw) | line }}", "text", CANARY),
        ("{% set x = vars.pw %}{% if x %}{{ x | line }}{% endif %}", "text", CANARY),
        ("{% macro m(x) %}{{ x | line }}{% endmacro %}{{ m(vars.pw) }}", "text", CANARY),
    ],
)
def test_a_filter_puts_a_secret_into_its_place_and_the_place_is_known(source: str, format_name: str, text: str) -> None:
    content = render(source, format_name)
    assert content.text == text
    assert content.secrets
    assert all(CANARY in each for each in shown(content))
    assert CANARY not in repr(content)


def test_a_secret_is_quoted_as_any_value_is() -> None:
    assert render("{{ vars.pw | sh }}", "sh", "it's").text == "'it'\"'\"'s'"
    assert render("{{ vars.deep | json }}", "json", 'a"b\\').text.count(r"a\"b\\") == 1


# T39
@pytest.mark.parametrize("format_name", ["text", "keepalived", "sh", "json"])
@pytest.mark.parametrize(
    "expression",
    [
        "vars.pw",
        "vars.pw | upper",
        "vars.pw | string",
        "vars.pw ~ 'x'",
        "'x' ~ vars.pw",
        "vars.pw + 'x'",
        "vars.pw | length",
        "vars.pw | list",
        "vars.pw | first",
        "vars.pw[0]",
        "vars.pw[:4]",
        "vars.pw | replace('a', 'b')",
        "[vars.pw] | join",
        "vars.pw | e",
        "vars.pw._secret",
        "vars.pw.reveal()",
        "vars.pw.__class__",
        "(vars.pw | FILTER) | upper",
        "(vars.pw | FILTER) ~ 'x'",
        "(vars.pw | FILTER) | FILTER",
        "[vars.pw | FILTER] | join",
        "vars.deep.list | join",
        "'%s' | format(vars.pw)",
        "vars.pw | int",
        "vars.pw | int | FILTER",
        "vars.pw | float | FILTER",
        "vars | string | FILTER",
        "vars.deep | string | upper | FILTER",
        "vars.deep | pprint | FILTER",
        "vars.pw == 'canary'",
        "vars.pw is in 'canary'",
        "'c' in vars.pw",
        "vars.pw > 'a'",
    ],
)
def test_nothing_else_takes_a_secret_and_no_error_holds_it(expression: str, format_name: str) -> None:
    name = next(iter(FORMATS[format_name].filters))
    source = "{{ " + expression.replace("FILTER", name) + " }}"
    with pytest.raises(FleetError) as caught:
        render(source, format_name)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert CANARY not in str(chain)
        assert CANARY not in repr(chain)
        chain = chain.__cause__ or chain.__context__


def test_a_condition_cannot_look_into_a_secret() -> None:
    with pytest.raises(UnfitValue):
        render("{% if vars.pw == 'x' %}a{% endif %}")
    assert render("{% if vars.pw %}a{% endif %}").text == "a"


def test_what_a_block_does_to_a_secret_after_its_filter_is_noticed() -> None:
    with pytest.raises(UnfitValue, match="changed after its filter"):
        render("{% filter upper %}{{ vars.pw | line }}{% endfilter %}")


# T39
@pytest.mark.parametrize(("format_name", "clear"), [("text", "two\nlines"), ("keepalived", 'a"b'), ("sh", "Gr\u00fcn")])
def test_what_a_format_cannot_carry_is_told_without_a_character_of_it(format_name: str, clear: str) -> None:
    name = next(iter(FORMATS[format_name].filters))
    with pytest.raises(UnfitValue, match="cannot carry there") as caught:
        render(f"{{{{ vars.pw | {name} }}}}", format_name, clear)
    assert caught.value.__cause__ is not None
    assert clear not in str(caught.value) + str(caught.value.__cause__)
    assert caught.value.__cause__.__context__ is None


def test_a_slot_shows_nothing_of_itself() -> None:
    assert CANARY not in repr(Slot(Secret(CANARY)))
    with pytest.raises(UnfitValue):
        str(Slot(Secret(CANARY)))


def test_a_closed_secret_names_its_place_and_the_option() -> None:
    values = {"vars": seal({"pw": Secret(None)})}
    with pytest.raises(SealedSecret, match="--vault-password-file"):
        Templates(None).render_source("{{ vars.pw | line }}", "m.j2", FORMATS["text"], values, host="h1")


TEAM = """\
fleet: {name: test}
site: north
hosts:
  h1: {address: 127.0.0.1}
  h2: {address: 127.0.0.2}
vars:
  token: VALUE
files:
  - {template: a.j2, path: /etc/gateway.conf, mode: "MODE", where: h1}
""".replace("VALUE", vault_value(CANARY, 4))


def test_a_team_s_file_knows_where_its_secret_stands(tmp_path: Path) -> None:
    built = build(tmp_path, TEAM.replace("MODE", "0600"), Vault(lambda: b"pw"), a__j2="t={{ vars.token }}\n")
    assert "a secret would stand unquoted" in built.render_problems()[0]
    built = build(tmp_path, TEAM.replace("MODE", "0600"), Vault(lambda: b"pw"), a__j2="t={{ vars.token | line }}\n")
    file = built.file("h1", "/etc/gateway.conf")
    assert (file.content, file.masked, file.holds_secrets) == (f"t={CANARY}\n", "t=***\n", True)
    assert CANARY not in repr(file)
    in_a_child, problems = render_fleet_limited(built.inventory, built.peers)
    assert problems == ()
    assert in_a_child["h1"].files == built.render()["h1"].files


def test_a_file_with_a_secret_that_everybody_may_read_is_not_rendered(tmp_path: Path) -> None:
    built = build(tmp_path, TEAM.replace("MODE", "0644"), Vault(lambda: b"pw"), a__j2="t={{ vars.token | line }}\n")
    assert "lets everybody on the host read it" in built.render_problems()[0]


def test_without_a_password_only_the_hosts_that_need_the_secret_are_refused(tmp_path: Path) -> None:
    built = build(tmp_path, TEAM.replace("MODE", "0600"), Vault(), a__j2="t={{ vars.token | line }}\n")
    rendered, problems = render_fleet(built.inventory, built.peers)
    assert list(rendered) == ["h2"]
    assert [problem.code for problem in problems] == ["secret-not-opened"]


def test_a_closed_secret_is_told_once_where_it_is_typed_with_the_templates_that_need_it(tmp_path: Path) -> None:
    more = "  - {template: a.j2, path: /etc/more.conf, where: all, mode: '0600'}\n"
    text = TEAM.replace("MODE", "0600").replace("files:\n", f"files:\n{more}")
    built = build(tmp_path, text, Vault(), a__j2="t={{ vars.token | line }}\n")
    _, problems = render_fleet(built.inventory, built.peers)
    (problem,) = problems
    rows = built.inventory.files
    assert problem.location == built.inventory.hosts["h1"].vars["token"].location
    assert set(problem.also) == {row.at("template") for row in rows}
    assert "--vault-password-file" in problem.message


def test_an_undefined_name_beside_secrets_tells_names_only(tmp_path: Path) -> None:
    with pytest.raises(TemplateError) as caught:
        render("{{ vars.nothing | line }}")
    assert "pw" in str(caught.value)
    assert CANARY not in str(caught.value)
