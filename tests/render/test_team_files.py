"""A team's own files: the examples of the documentation work as they stand, and values cannot break them."""

import json
import re
from pathlib import Path

import pytest

from tests.render.building import Built, build, quote_yaml

DOCUMENT = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
INVENTORY = """\
fleet: {name: test, vars: {pager: dicom-team}}
site: north
hosts:
  orthanc-1: {address: 10.0.0.1, vars: {http_port: 8042}}
  nagios-1: {address: 10.0.0.2}
probers: [{ae_title: FLEET_SCU, addresses: [10.0.0.5]}]
entities:
  - {ae_title: VNA, kind: archive, provides: [verification, storage, query-retrieve],
     instances: [{host: orthanc-1, port: 4242}], run: {engine: none}}
  - {ae_title: TITLE_OF_WS, name: ws1, kind: workstation, address: 10.0.1.1, port: 104,
     provides: [verification, storage]}
  - {ae_title: US1, kind: modality, address: 10.0.1.2, listens: false}
flows:
  - {from: "kind=workstation", to: VNA, services: [query-retrieve]}
  - {from: US1, to: VNA, services: [storage]}
files:
  - {template: mine.j2, path: PATH, where: HOST}
"""


def example(name: str) -> str:
    """A template that the documentation shows, under its file's name."""
    found = re.search(rf"`{re.escape(name)}`:\n\n```jinja\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found, f"docs/templates.md shows no {name}"
    return found[1]


def render(folder: Path, source: str, path: str, host: str, title: str = "WS1") -> str:
    text = INVENTORY.replace("PATH", path).replace("HOST", host).replace("TITLE_OF_WS", quote_yaml(title))
    return build(folder, text, mine__j2=source).file(host, path).content


def test_the_orthanc_example_lists_who_may_call_and_be_called(tmp_path: Path) -> None:
    text = render(tmp_path, example("orthanc.json.j2"), "/etc/orthanc/fleet.json", "orthanc-1")
    loaded = json.loads(text)
    assert loaded["DicomAet"] == "VNA"
    assert loaded["DicomPort"] == 4242
    assert loaded["HttpPort"] == 8042
    assert loaded["DicomModalities"]["ws1"] == ["WS1", "10.0.1.1", 104]
    assert {row[0] for row in loaded["DicomModalities"].values()} == {"WS1", "US1", "FLEET_SCU"}
    assert loaded["DicomCheckModalityHost"] is True


@pytest.mark.parametrize("title", ['A"B', "A B", "{{ 7*7 }}", "${HOME}", "A,B", "</x>"])
def test_hard_titles_come_back_from_the_orthanc_example(title: str, tmp_path: Path) -> None:
    # T02, T14
    loaded = json.loads(render(tmp_path, example("orthanc.json.j2"), "/etc/orthanc/fleet.json", "orthanc-1", title))
    assert loaded["DicomModalities"]["ws1"][0] == title


def test_the_conquest_example_has_a_line_for_each_destination(tmp_path: Path) -> None:
    text = render(tmp_path, example("acrnema.map.j2"), "/etc/conquest/acrnema.map", "orthanc-1")
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("/*")]
    assert ["WS1", "10.0.1.1", "104", "un"] in rows
    assert not any(row[0] == "US1" for row in rows), "it does not listen"


def test_the_nagios_example_checks_every_entity_that_listens(tmp_path: Path) -> None:
    text = render(tmp_path, example("dicom.cfg.j2"), "/etc/nagios4/conf.d/dicom.cfg", "nagios-1")
    assert text.count("define service {") == 2
    assert "check_command        check_fleet!WS1" in text
    assert "contact_groups       dicom-team" in text
    assert "US1" not in text


def problems(folder: Path, source: str, path: str = "/etc/mine", host: str = "nagios-1") -> list[str]:
    text = INVENTORY.replace("PATH", path).replace("HOST", host).replace("TITLE_OF_WS", "WS1")
    return build(folder, text, mine__j2=source).render_problems()


def test_an_undefined_name_in_a_team_s_template_names_all(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "one\n{{ hots.name }}\n")
    assert "host nagios-1 is not rendered: mine.j2:2: 'hots' is undefined; did you mean 'hosts'?" in found
    assert found.count("nagios-1") == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ host.nam }}", "a host has no 'nam', it has name, address, site, labels, vars; did you mean 'name'?"),
        ("{{ vars.zzz }}", "this mapping has no 'zzz', it has"),
        ("{% for each in entities %}{{ each.tittle }}{% endfor %}", "an entity has no 'tittle', it has ae_title, name"),
        ("{{ host.name.lenght }}", "a text has no 'lenght'"),
    ],
)
def test_a_slip_in_a_template_is_told_what_there_is_and_no_word_of_python(
    source: str, words: str, tmp_path: Path
) -> None:
    (found,) = problems(tmp_path, source)
    assert words in found
    assert "object" not in found
    assert "attribute" not in found


def test_one_mistake_in_a_template_is_told_once_with_the_hosts_that_it_concerns(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "{{ host.nam }}", host="all")
    assert "hosts orthanc-1, nagios-1" in found or "hosts nagios-1, orthanc-1" in found
    assert "are not rendered: mine.j2:1: a host has no 'nam'" in found
    assert "error[template-failed]" in found
    assert found.startswith(f"{tmp_path}/fleet.yml:17:")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("/etc/systemd/system/mine.service", "[Service]\nEnvironment=A={{ host.name }}\n"),
        ("/etc/systemd/system/a.service.d/mine.conf", "[Service]\nEnvironment=A={{ host.name }}\n"),
        ("/etc/keepalived/conf.d/mine.conf", "# {{ host.name }}\n"),
        ("/etc/haproxy/mine.cfg", "# {{ host.name }}\n"),
        ("/etc/mine.json", '{"a": "{{ host.name }}"}\n'),
        ("/usr/local/bin/mine.sh", "echo {{ host.name }}\n"),
    ],
)
def test_raw_text_in_a_dangerous_place_is_refused(path: str, source: str, tmp_path: Path) -> None:
    # T15
    (found,) = problems(tmp_path, source, path)
    assert "unquoted" in found
    assert "mine.j2:" in found


def test_a_file_that_fleet_makes_itself_is_not_overwritten(tmp_path: Path) -> None:
    text = INVENTORY.replace("run: {engine: none}", "run: {engine: storescp, storage_area: /srv/x}")
    text = text.replace("PATH", "/etc/systemd/system/fleet-storescp-VNA.service").replace("HOST", "orthanc-1")
    built = build(tmp_path, text.replace("TITLE_OF_WS", "WS1"), mine__j2="[Unit]\n")
    (found,) = built.render_problems()
    assert "fleet makes that file on orthanc-1 itself" in found


def test_two_files_at_one_path_and_files_in_fleet_s_folders_are_named(tmp_path: Path) -> None:
    text = INVENTORY.replace("PATH", "/etc/mine").replace("HOST", "nagios-1").replace("TITLE_OF_WS", "WS1")
    text += "  - {template: mine.j2, path: /etc/mine, where: all}\n"
    text += "  - {template: mine.j2, path: /etc/fleet/x, where: all}\n"
    found = [str(problem) for problem in build(tmp_path, text, mine__j2="x\n").target_problems()]
    assert any("a second file at /etc/mine of nagios-1" in each for each in found)
    assert any("the path /etc/fleet/x" in each for each in found)


def test_a_missing_final_newline_is_added_and_text_may_be_utf_8(tmp_path: Path) -> None:
    # T17
    assert render(tmp_path, "größer\r\nende", "/etc/motd", "nagios-1") == "größer\nende\n"


def test_a_file_s_own_check_and_handler_travel_with_it(tmp_path: Path) -> None:
    text = INVENTORY.replace("PATH", "/etc/mine").replace("HOST", "nagios-1").replace("TITLE_OF_WS", "WS1")
    more = 'check: "nagios4 -v {}", handler: "systemctl reload nagios4", mode: "0640", owner: nagios}'
    text = text.replace("where: nagios-1}", f"where: nagios-1, {more}")
    built: Built = build(tmp_path, text, mine__j2="x\n")
    file = built.file("nagios-1", "/etc/mine")
    assert file.check is not None
    assert file.check.script == 'nagios4 -v "$1"\n'
    assert (file.handler, file.mode, file.owner) == ("systemctl reload nagios4", 0o640, "nagios:nagios")
