"""Whole hosts: same inventory, same bytes; what each file says follows from flows, probers and checks."""

import json
import re
import shutil
from pathlib import Path

import jsonschema
import pytest

from fleet.documents.packaged import read_schema
from fleet.errors import UnfitValue
from fleet.plan.decide import check_words
from fleet.plan.grammar import STAGE_NAME
from fleet.render.artifacts import Content
from fleet.render.formats import FORMATS
from fleet.render.hosts import render_fleet
from fleet.render.session import check_content
from fleet.targets import relay, systemd
from tests.render.building import (
    ARCHIVE,
    EXAMPLE,
    PROGRAMS,
    RECEIVER,
    archive_with_callers,
    build,
    quote_yaml,
    read_inventory,
)

EXPECTED = EXAMPLE.parent / "expected"


def test_the_example_renders_to_the_bytes_that_were_read_by_a_person() -> None:
    """Change a template, then `python -m tests.render.write_expected` and read the difference."""
    rendered = read_inventory(EXAMPLE).render()
    texts = [file for host in rendered.values() for file in host.files if file.program is None]
    made = {f"{file.host}{file.path}": file.content for file in texts}
    kept = {
        str(path.relative_to(EXPECTED)): path.read_text(encoding="utf-8")
        for path in EXPECTED.rglob("*")
        if path.is_file()
    }
    assert made == kept


def test_the_same_inventory_gives_the_same_values_twice() -> None:
    assert read_inventory(EXAMPLE).render() == read_inventory(EXAMPLE).render()


def test_every_word_may_reach_a_host() -> None:
    for host in read_inventory(EXAMPLE).render().values():
        assert check_words(host) == ()


def test_every_file_ends_in_a_newline_and_is_plain_ascii() -> None:
    # T17
    for host in read_inventory(EXAMPLE).render().values():
        for file in (each for each in host.files if each.program is None):
            assert file.content.endswith("\n")
            assert file.content.isascii()
            assert "\r" not in file.content
            assert all(line == line.rstrip() for line in file.content.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize(
    ("text", "words"),
    [("a\r\nb\n", "carriage return"), ("grün\n", "not ASCII"), ("a\x00\n", "NUL"), ("x" * 401, "401 bytes")],
)
def test_a_text_that_its_reader_would_misread_is_never_written(text: str, words: str) -> None:
    # T16, T17
    with pytest.raises(UnfitValue, match=words):
        check_content(Content(text), FORMATS["dcmqrscp"], "h1", "/etc/x")
    assert check_content(Content("a"), FORMATS["dcmqrscp"], "h1", "/etc/x") == Content("a\n")


def test_a_retired_host_holds_nothing(tmp_path: Path) -> None:
    built = build(tmp_path, ARCHIVE.replace("{address: 127.0.0.1}", "{address: 127.0.0.1, retired: true}"))
    host = built.render()["h1"]
    assert (host.files, host.services, host.needs.programs) == ((), (), ())


def test_a_host_with_a_problem_is_left_out_and_the_others_are_not(tmp_path: Path) -> None:
    text = ARCHIVE.replace("h1: {address: 127.0.0.1}", "h1: {address: 127.0.0.1}\n  h2: {address: 127.0.0.2}")
    built = build(tmp_path, text.replace(", deletes_oldest: accepted", "").replace("access: RW, ", ""))
    rendered, problems = render_fleet(built.inventory, built.peers)
    assert list(rendered) == ["h2"]
    assert "the engine setting access is missing" in problems[0].message


def rows_of(content: str, title: str) -> list[str]:
    return [line.partition(" = ")[2] for line in content.splitlines() if f"({title}, " in line]


def test_callers_are_exactly_flows_probers_and_checks_with_proxy_rows_after_their_own() -> None:
    content = read_inventory(EXAMPLE).file("north-pacs-1", "/etc/fleet/dcmqrscp-NORTH_PACS.cfg").content
    assert rows_of(content, "NORTH_WS01") == [
        "(NORTH_WS01, 10.20.4.41, 11112)", "(NORTH_WS01, 10.20.0.11, 1)", "(NORTH_WS01, 10.20.0.12, 1)",
    ]  # fmt: skip
    assert rows_of(content, "LOADBALANCER") == ["(LOADBALANCER, 10.20.0.11, 1)", "(LOADBALANCER, 10.20.0.12, 1)"]
    assert rows_of(content, "FLEET_SCU")[0] == "(FLEET_SCU, 10.0.0.5, 1)"
    assert rows_of(content, "NORTH_CT01") == []
    assert "ANY" not in content


def test_a_peer_by_dhcp_has_no_row_and_one_without_a_port_is_called_by_nobody(tmp_path: Path) -> None:
    text = archive_with_callers({"WS1": "dhcp", "WS2": "10.0.0.2"})
    content = build(tmp_path, text).file("h1", "/etc/fleet/dcmqrscp-ARCHIVE.cfg").content
    assert rows_of(content, "WS1") == []
    assert rows_of(content, "WS2") == ["(WS2, 10.0.0.2, 104)"]


def test_keepalived_holds_no_title_and_its_scripts_are_root_s() -> None:
    # T15, T41
    built = read_inventory(EXAMPLE)
    for name in ("north-pacs-1", "north-pacs-2"):
        files = {file.path: file for file in built.render()[name].files}
        config = files["/etc/keepalived/keepalived.conf"].content
        assert "NORTH_PACS" not in config
        assert "LOADBALANCER" not in config
        assert "enable_script_security" in config
        assert "script_user nobody" in config
        scripts = [line.split('"')[1].split()[0] for line in config.splitlines() if line.startswith("  script ")]
        assert len(scripts) == 2
        for path in scripts:
            assert (files[path].owner, files[path].mode) == ("root:root", 0o755)


def test_a_password_of_vrrp_is_readable_by_root_alone(tmp_path: Path) -> None:
    # T39
    text = ARCHIVE + (
        "virtual_services:\n  - {name: v, entity: ARCHIVE, addresses: [10.0.0.9/24], port: 104, check: {calling: LB},\n"
        "     vrrp: {interface: eth0, virtual_router_id: 1, priority: {h1: 100}, auth_pass: Canary42}}\n"
    )
    built = build(tmp_path, text)
    holders = [file for file in built.render()["h1"].files if "Canary42" in file.content]
    assert [(file.path, file.mode) for file in holders] == [("/etc/keepalived/keepalived.conf", 0o600)]


def test_every_member_has_the_same_first_choice() -> None:
    built = read_inventory(EXAMPLE)
    servers = []
    for name in ("north-pacs-1", "north-pacs-2"):
        lines = built.file(name, "/etc/haproxy/haproxy.cfg").content.splitlines()
        servers.append([line.split(" source ")[0] for line in lines if line.startswith("  server ")])
    assert servers[0] == ["  server north-pacs-1 10.20.0.11:11112", "  server north-pacs-2 10.20.0.12:11112"]
    assert servers[1] == servers[0]
    last = built.file("north-pacs-2", "/etc/haproxy/haproxy.cfg").content.splitlines()[-1]
    assert last == "  server north-pacs-2 10.20.0.12:11112 source 10.20.0.12 backup"


@pytest.mark.parametrize("title", ["A%n", "A$HOME", 'A"B', "A;B", "A B", "A'B", "%%", "~A", "A#B", "{{ x }}"])
def test_a_hard_title_is_one_word_of_a_unit_and_reads_back(title: str, tmp_path: Path) -> None:
    # T02, T14, T15
    text = RECEIVER.replace("ae_title: RECEIVER", f"ae_title: {quote_yaml(title)}")
    host = build(tmp_path, text).render()["h1"]
    assert check_words(host) == ()
    (service,) = host.services
    unit = next(file.content for file in host.files if file.path.endswith(service.unit))
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    word = systemd.quote_argument(title)
    assert f" -aet {word} -od " in command
    plain = word.strip('"').replace("%%", "%").replace("$$", "$").replace('\\"', '"')
    assert plain == title


def test_two_instances_on_one_host_have_units_of_their_own(tmp_path: Path) -> None:
    text = RECEIVER.replace("[{host: h1, port: 11112}]", "[{host: h1, port: 11113}, {host: h1, port: 11112}]")
    host = build(tmp_path, text).render()["h1"]
    units = [service.unit for service in host.services]
    assert units == ["fleet-storescp-RECEIVER:p11112.service", "fleet-storescp-RECEIVER:p11113.service"]


def test_only_who_needs_a_low_port_gets_the_capability(tmp_path: Path) -> None:
    example = read_inventory(EXAMPLE)
    unit = example.file("north-relay-1", "/etc/systemd/system/fleet-relay-NORTH_RELAY.service").content
    assert "CAP_NET_BIND_SERVICE" not in unit
    low = tmp_path / "inventory"
    shutil.copytree(EXAMPLE, low)
    north = low / "sites" / "north.yml"
    north.chmod(0o644)
    text = north.read_text(encoding="utf-8").replace("north-relay-1, port: 11112", "north-relay-1, port: 104")
    north.write_text(text, encoding="utf-8")
    unit = read_inventory(low).file("north-relay-1", "/etc/systemd/system/fleet-relay-NORTH_RELAY.service").content
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in unit


def test_a_worklist_has_a_folder_and_a_lock_for_its_title() -> None:
    host = read_inventory(EXAMPLE).render()["north-pacs-1"]
    assert "/var/lib/dcmtk/worklist/NORTH_MWL" in {folder.path for folder in host.needs.folders}
    lock = next(file for file in host.files if file.path.endswith("/lockfile"))
    assert (lock.path, lock.owner) == ("/var/lib/dcmtk/worklist/NORTH_MWL/lockfile", "dcmtk:dcmtk")


def relay_document(host: str = "north-relay-1", path: str = "/etc/fleet/relay-NORTH_RELAY.json") -> dict[str, object]:
    loaded: dict[str, object] = json.loads(read_inventory(EXAMPLE).file(host, path).content)
    return loaded


def test_the_relay_s_file_is_true_to_its_schema_and_its_schema_explains_every_property() -> None:
    schema = read_schema("relay")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(relay_document())

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for name, sub in (value.get("properties") or {}).items():
                assert sub.get("description"), name
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(schema)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "fleet.relay/2"),
        ("routes", []),
        ("ae_title", "A\\B"),
        ("ae_title", " "),
        ("more", 1),
        ("max_pdu_bytes", 1),
    ],
)
def test_the_relay_s_schema_refuses_what_is_wrong(key: str, value: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(read_schema("relay")).validate({**relay_document(), key: value})


def test_a_variable_with_braces_stays_text_for_the_relay(tmp_path: Path) -> None:
    # T14: what a variable holds never becomes an element or a template.
    text = """\
fleet: {name: t, vars: {institution: "{PatientName} {{ archive }}"}}
site: n
hosts: {h1: {address: 10.0.0.1}}
entities:
  - {ae_title: R, kind: relay, provides: [storage], instances: [{host: h1, port: 104}], run: {engine: relay}}
  - {ae_title: A, kind: archive, address: 10.0.0.2, port: 104, provides: [storage]}
flows: [{from: R, to: A, services: [storage]}]
relays:
  - entity: R
    timezone: Europe/Lisbon
    routes:
      - name: all
        edit: [{set: InstitutionName, value: "at {{ institution }}/{PatientID}!"}]
        when: {during: "22:00-06:00"}
        to: {primary: [{ae_title: A}]}
"""
    document = json.loads(build(tmp_path, text).file("h1", "/etc/fleet/relay-R.json").content)
    (route,) = document["routes"]
    assert route["edit"][0]["value"] == [
        {"text": "at {PatientName} {{ archive }}/"}, {"element": "PatientID"}, {"text": "!"},
    ]  # fmt: skip
    assert route["when"]["during"] == {"timezone": "Europe/Lisbon", "open": ["22:00-06:00"], "holidays": None}
    jsonschema.Draft202012Validator(read_schema("relay")).validate(document)


def test_a_relay_to_an_unknown_destination_is_not_rendered(tmp_path: Path) -> None:
    text = (EXAMPLE / "fleet.yml").read_text(encoding="utf-8").replace("TELERAD_DAY", "TELERAD_DYA")
    sites = EXAMPLE / "sites"
    merged = tmp_path / "inventory"
    (merged / "sites").mkdir(parents=True)
    (merged / "tls").mkdir()
    (merged / "fleet.yml").write_text(text, encoding="utf-8")
    for path in (*sites.iterdir(), EXAMPLE / "tls" / "telerad-ca.pem"):
        (merged / path.relative_to(EXAMPLE)).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (problem,) = read_inventory(merged).render_problems()
    assert "'TELERAD_DYA', which is no entity" in problem


def test_every_header_says_whose_file_it_is() -> None:
    for host in read_inventory(EXAMPLE).render().values():
        for file in host.files:
            if not file.path.endswith((".json", ".pem", "lockfile", ".pyz")):
                assert "Managed by fleet" in file.content.splitlines()[0 if file.content[0:2] != "#!" else 1]


RELAYS = """\
fleet: {name: t}
site: n
hosts: {h1: {address: 10.0.0.1}}
entities:
  - {ae_title: R, kind: relay, provides: [storage], instances: [{host: h1, port: 11112}], run: {engine: relay}}
  - {ae_title: S, kind: relay, provides: [storage], instances: [{host: h1, port: 11113}],
     run: {engine: relay, python: /usr/bin/python3.12}}
  - {ae_title: A, kind: archive, address: 10.0.0.2, port: 104, provides: [storage]}
flows: [{from: "R,S", to: A, services: [storage]}]
relays:
  - {entity: "R,S", timezone: Europe/Lisbon, routes: [{name: all, to: {primary: [{ae_title: A}]}}]}
"""


def test_two_relays_of_a_host_share_their_program_and_both_restart_with_it(tmp_path: Path) -> None:
    host = build(tmp_path, RELAYS).render()["h1"]
    (program,) = (file for file in host.files if file.program is not None)
    assert (program.path, program.mode, program.owner) == (relay.PROGRAM, 0o644, "root:root")
    assert program.restarts == ("fleet-relay-R.service", "fleet-relay-S.service")
    assert program.data == PROGRAMS["fleet-relay.pyz"].content
    assert host.needs.pythons == ("/usr/bin/python3", "/usr/bin/python3.12")
    assert not host.needs.programs
    config = next(file for file in host.files if file.path == "/etc/fleet/relay-S.json")
    assert (config.reloads, config.restarts) == (("fleet-relay-S.service",), ())
    assert config.check is not None
    assert "python=/usr/bin/python3.12" in config.check.script


def test_what_a_reload_of_a_relay_cannot_change_changes_its_unit(tmp_path: Path) -> None:
    path = "/etc/systemd/system/fleet-relay-R.service"
    before = build(tmp_path / "a", RELAYS).file("h1", path)
    for change in ("port: 11119", "port: 11112, address: 10.0.0.9"):
        assert build(tmp_path / change, RELAYS.replace("port: 11112", change)).file("h1", path) != before
    for change in ("spool: /srv/spool", "max_pdu: 65536"):
        text = RELAYS.replace("run: {engine: relay}", f"run: {{engine: relay, {change}}}")
        assert build(tmp_path / change[:5], text).file("h1", path) != before
    text = RELAYS.replace("{name: all,", "{name: other,")
    assert build(tmp_path / "b", text).file("h1", path) == before


def test_without_the_relay_s_program_its_host_is_not_rendered(tmp_path: Path) -> None:
    built = build(tmp_path, RELAYS)
    rendered, problems = render_fleet(built.inventory, built.peers)
    assert rendered == {}
    assert "fleet-relay.pyz was not handed" in problems[0].message


def test_staged_programs_and_certificates_are_looked_for_where_fleet_stages() -> None:
    script = relay.make_program_check("/usr/bin/python3").script + relay.make_config_check("/usr/bin/python3").script
    assert f"/{STAGE_NAME}/new/" in script
    assert len(set(re.findall(r"/\.[a-z-]+/[a-z]+/", script))) == 1
