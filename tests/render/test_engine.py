"""The sandbox: what a template may not do, and how it is told where it went wrong."""

import os
from pathlib import Path

import pytest

from fleet.errors import TemplateError, UnfitValue
from fleet.render.engine import Templates
from fleet.render.formats import FORMATS

TEXT = FORMATS["text"]


def render(source: str, format_name: str = "text", folder: Path | None = None, **values: object) -> str:
    """A template's text rendered for host h1."""
    return Templates(folder).render_source(source, "mine.j2", FORMATS[format_name], values, host="h1").text


@pytest.mark.parametrize(
    "name",
    ["../secret.j2", "/etc/passwd", "a/../../secret.j2", "..", "a//b", ".hidden", "a\\..\\b", "", "./x", "a/./b"],
)
def test_a_template_reads_nothing_outside_its_folder_by_name(name: str, tmp_path: Path) -> None:
    # T12
    folder = tmp_path / "templates"
    folder.mkdir()
    (tmp_path / "secret.j2").write_text("hunter2")
    escaped = name.replace("\\", "\\\\")
    with pytest.raises(TemplateError) as caught:
        render(f'{{% include "{escaped}" %}}', folder=folder)
    assert "hunter2" not in str(caught.value)
    assert "mine.j2:1" in str(caught.value)


def test_a_symbolic_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    # T12
    folder = tmp_path / "templates"
    folder.mkdir()
    (tmp_path / "secret").write_text("hunter2")
    (folder / "file.j2").symlink_to(tmp_path / "secret")
    (folder / "deep").symlink_to(tmp_path)
    for name in ("file.j2", "deep/secret"):
        with pytest.raises(TemplateError, match="leads out of the folder"):
            render(f'{{% include "{name}" %}}', folder=folder)


def test_a_link_swapped_under_a_template_never_shows_what_lies_outside(tmp_path: Path) -> None:
    # T12: what is open is asked where it lies; here the link changes between any two reads.
    folder = tmp_path / "templates"
    folder.mkdir()
    (tmp_path / "secret").write_text("hunter2")
    (folder / "good").write_text("good")
    link, spare = folder / "file.j2", folder / "spare"
    seen = set()
    for number in range(200):
        target = tmp_path / "secret" if number % 2 else folder / "good"
        spare.symlink_to(target)
        os.replace(spare, link)  # noqa: PTH105 - the swap itself
        try:
            seen.add(render('{% include "file.j2" %}', folder=folder))
        except TemplateError:
            seen.add("refused")
    assert seen == {"good", "refused"}


def test_a_link_inside_the_folder_and_special_files_are_told_apart(tmp_path: Path) -> None:
    # T12
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "real.j2").write_text("inside")
    (folder / "link.j2").symlink_to("real.j2")
    os.mkfifo(folder / "pipe.j2")
    assert render('{% include "link.j2" %}', folder=folder) == "inside"
    with pytest.raises(TemplateError, match="no regular file"):
        render('{% include "pipe.j2" %}', folder=folder)


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ x.__class__.__mro__ }}",
    "{{ ''|attr('__class__') }}",
    "{{ ('{0.__class__}').format(x) }}",
    "{{ x|attr('format')(1) }}",
    "{{ '%s' % x }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ lipsum() }}",
    "{{ lipsum.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner() }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__.__globals__ }}",
    "{{ range(100001)|list|length }}",
    "{{ ('x' * 10**8)|length }}",
    "{{ (10**(10**8)) % 7 }}",
    "{{ ([0] * 10**9)|length }}",
    "{{ 10**8 * 'x' }}",
    "{{ x.center(10**9) }}",
    "{{ x.zfill(10**9) }}",
    "{{ ''.join(['a'] * 10**7) }}",
    "{{ x|center(10**9) }}",
    "{{ [1,2,3]|random }}",
    "{{ x|pprint }}",
    "{{ entities.append(1) }}",
    "{{ mapping.update({}) }}",
    "{% set _ = mapping.pop('a') %}",
    "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    "{% include 'mine.j2' %}",
    "{% import 'os' as os %}",
    "{{ x.encode.__self__ }}",
    "{{ (1).__class__.__base__.__subclasses__() }}",
    "{{ get.__globals__ }}",
    "{{ get.__code__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ dict.__base__ }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_no_way_out_of_the_sandbox(source: str) -> None:
    # T13
    with pytest.raises((TemplateError, UnfitValue)) as caught:
        render(source, x="text", entities=[1], mapping={"a": 1}, get=lambda: None)
    assert "mine.j2" in str(caught.value)
    assert "host h1" in str(caught.value)


VALUES = [
    "{{ 7*7 }}", "{% raw %}", "{# #}", "{{ lookup('pipe','id') }}", "{{ self }}", "}}{{ 1 }}", "{%- include 'x' -%}",
    "{{ '{{' }}", "${7*7}", "#{7*7}", "<% 7*7 %>", "{{ x }}", "{ % x % }",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_never_a_template(value: str) -> None:
    # T14: also not when it goes through variables, loops, macros, includes and joins.
    assert render("{{ x }}", x=value) == value
    source = "{% set y = x %}{% macro m(z) %}{{ z }}{% endmacro %}{% for e in [y] %}{{ m(e) }}{% endfor %}"
    assert render(source, x=value) == value
    assert render("{{ [x, x]|join('-') }}", x=value) == f"{value}-{value}"
    assert render('{"v": {{ x | json }}}', "json", x=value).count("{{") == value.count("{{")


@pytest.mark.parametrize("format_name", ["dcmqrscp", "keepalived", "haproxy", "systemd", "sh", "json"])
@pytest.mark.parametrize(
    "source",
    [
        "{{ x }}",
        "{{ 'literal' }}",
        "{{ x ~ '' }}",
        "{{ x | upper }}",
        "{{ none }}",
        "{{ true }}",
        "{{ [x] }}",
        "{{ 1.5 }}",
    ],
)
def test_raw_text_is_refused_where_a_format_could_be_broken(source: str, format_name: str) -> None:
    # T15
    with pytest.raises(UnfitValue, match="unquoted") as caught:
        render(source, format_name, x="plain")
    assert "mine.j2:1" in str(caught.value)


@pytest.mark.parametrize(("format_name", "filter_name"), [("dcmqrscp", "word"), ("systemd", "argument"), ("sh", "sh")])
def test_what_is_joined_to_a_quoted_value_makes_it_raw_again(format_name: str, filter_name: str) -> None:
    # T15
    assert render(f"{{{{ x | {filter_name} }}}}", format_name, x="ok") == "ok"
    with pytest.raises(UnfitValue, match="unquoted"):
        render(f"{{{{ (x | {filter_name}) ~ '; evil' }}}}", format_name, x="ok")


def test_one_format_s_quoting_is_not_another_s() -> None:
    # T15: JSON's quotes mean something else to keepalived, so its filter is not even there.
    with pytest.raises(TemplateError, match="json"):
        render("{{ x | json }}", "keepalived", x="ok")


CANARIES = ["a\nb", "a\rb", "a\x00b", "a\x0bb", "a\x85b", "a\u2028b", "\x1b[31m"]


@pytest.mark.parametrize("format_name", [*FORMATS])
@pytest.mark.parametrize("value", CANARIES)
def test_a_value_never_begins_another_line(value: str, format_name: str) -> None:
    # T01, T15, T17
    for filter_name in FORMATS[format_name].filters:
        source = f"{{{{ x | {filter_name} }}}}"
        if filter_name == "json":
            text = render(source, format_name, x=value)
            assert (text.isascii(), text.isprintable()) == (True, True)
        else:
            with pytest.raises(UnfitValue, match=r"mine\.j2:1"):
                render(source, format_name, x=value)


@pytest.mark.parametrize("format_name", [*FORMATS])
def test_an_undefined_name_is_an_error_that_names_all(format_name: str) -> None:
    filter_name = next(iter(FORMATS[format_name].filters))
    with pytest.raises(TemplateError) as caught:
        render(f"first line\n\n{{{{ hostt.name | {filter_name} }}}}\n", format_name, host="x")
    assert "mine.j2:3" in str(caught.value)
    assert "'hostt' is undefined" in str(caught.value)
    assert "host h1" in str(caught.value)


def test_an_undefined_field_names_the_field_and_its_line(tmp_path: Path) -> None:
    (tmp_path / "part.j2").write_text("one\ntwo {{ host.nmae }}\n")
    with pytest.raises(TemplateError) as caught:
        render('{% include "part.j2" %}', folder=tmp_path, host={"name": "h1"})
    assert f"{tmp_path}/part.j2:2" in str(caught.value)
    assert "nmae" in str(caught.value)


@pytest.mark.parametrize("code_point", [0x00, 0x07, 0x0C, 0x1B, 0x7F, 0x9B, 0xAD, 0x202E, 0x2028, 0xFE0F, 0xE0041])
def test_what_nobody_sees_reaches_no_host(code_point: int, tmp_path: Path) -> None:  # T11
    hidden = chr(code_point)
    with pytest.raises(TemplateError, match=rf"mine\.j2:3: it holds U\+{code_point:04X}, which nobody sees"):
        render(f"one\ntwo\nth{hidden}ree\n")
    (tmp_path / "part.j2").write_text(f"one\nt{hidden}wo\n", encoding="utf-8", newline="")
    with pytest.raises(TemplateError, match=rf"part\.j2:2: it holds U\+{code_point:04X}"):
        render('{% include "part.j2" %}', folder=tmp_path)
    with pytest.raises(UnfitValue, match=f"U\\+{code_point:04X}"):  # an escape in a template's own text
        render(f'{{{{ "\\U{code_point:08x}" }}}}\n')
    with pytest.raises(UnfitValue, match=f"U\\+{code_point:04X}"):
        render("{{ value }}\n", value=f"a{hidden}b")


def test_a_syntax_error_names_its_line() -> None:
    with pytest.raises(TemplateError, match=r"mine\.j2:2: .*endfor"):
        render("x\n{% for a in b %}\n")


def test_carriage_returns_of_a_template_s_author_become_plain_newlines() -> None:
    # T17
    assert render("a\r\nb\r\n") == "a\nb\n"


def test_a_team_s_template_is_found_before_ours(tmp_path: Path) -> None:
    (tmp_path / "drain-associations.sh.j2").write_text("#!/bin/sh\nexit 0\n")
    templates = Templates(tmp_path)
    assert templates.render("drain-associations.sh.j2", FORMATS["sh"], {}, host="h1").text == "#!/bin/sh\nexit 0\n"
    ours = Templates(None).render("drain-associations.sh.j2", FORMATS["sh"], {}, host="h1").text
    assert "kill -STOP" in ours
