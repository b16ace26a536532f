"""TLS files are on the hosts that need them and nowhere else, and the relay is told where they are."""

import json
from pathlib import Path

import jsonschema
import pytest

from fleet.documents.packaged import read_schema
from fleet.relay.config import check_shape
from fleet.render.artifacts import RenderedFile
from fleet.secrets.vault import Vault
from tests.render.building import Built, build
from tests.validate.write_certificates import CASES, PASSWORD

FILES = CASES / "certificate-key-foreign"
TEXT = """\
fleet: {name: test}
site: north
hosts:
  h1: {address: 127.0.0.1}
  h2: {address: 127.0.0.2}
  h3: {address: 127.0.0.3}
certificates:
  clinic: {ca_file: ca.pem}
  callers: {ca_file: ca.pem}
  mine: {cert_file: leaf.pem, key: leaf.key}
  other: {cert_file: leaf.pem, key: leaf.key}
entities:
  - {ae_title: R, kind: relay, provides: [storage], instances: [{host: h1, port: 2762}],
     tls: {verify: {ca: clinic, name: pacs.clinic.example}, present: other},
     run: {engine: relay, tls: {certificate: mine, callers_ca: callers}}}
  - {ae_title: S, kind: relay, provides: [storage], instances: [{host: h1, port: 2763}],
     tls: {verify: {ca: clinic}}, run: {engine: relay, user: other, tls: {certificate: mine}}}
  - {ae_title: PLAIN, kind: relay, provides: [storage], instances: [{host: h2, port: 104}], run: {engine: relay}}
  - {ae_title: PACS, kind: archive, provides: [storage], address: 127.0.0.9, port: 2762,
     tls: {verify: {ca: clinic}, present: other}}
  - {ae_title: CT, kind: modality, address: 127.0.0.8, listens: false}
relays:
  - {entity: R, timezone: UTC, routes: [{name: all, to: {primary: [{ae_title: PACS}]}}]}
  - {entity: S, timezone: UTC, routes: [{name: all, to: {primary: [{ae_title: R}]}}]}
  - {entity: PLAIN, timezone: UTC, routes: [{name: all, to: {primary: [{ae_title: R}]}}]}
flows:
  - {from: CT, to: "kind=relay", services: [storage]}
  - {from: R, to: PACS, services: [storage]}
  - {from: "S, PLAIN", to: R, services: [storage]}
"""


@pytest.fixture
def built(tmp_path: Path) -> Built:
    (tmp_path / "ca.pem").write_text((CASES / "certificate-unreadable" / "ca.pem").read_text())
    for name in ("leaf.pem", "leaf.key"):
        (tmp_path / name).write_text((FILES / name).read_text())
    return build(tmp_path, TEXT, Vault(lambda: PASSWORD))


def tls_files(built: Built, host: str) -> dict[str, RenderedFile]:
    return {
        file.path.removeprefix("/etc/fleet/tls/"): file
        for file in built.render()[host].files
        if file.path.startswith("/etc/fleet/tls/")
    }


def test_a_host_has_what_its_relays_need_and_no_more(built: Built) -> None:
    assert sorted(tls_files(built, "h1")) == [
        "callers.pem",
        "clinic.pem",
        "mine.crt",
        "other.crt",
        "relay-R.mine.key",
        "relay-R.other.key",
        "relay-S.mine.key",
        "relay-S.other.key",
    ]
    assert sorted(tls_files(built, "h2")) == ["clinic.pem", "other.crt", "relay-PLAIN.other.key"]
    assert tls_files(built, "h3") == {}


def test_a_key_is_its_service_s_alone_and_all_of_it_is_secret(built: Built) -> None:
    files = tls_files(built, "h1")
    mine, others = files["relay-R.mine.key"], files["relay-S.mine.key"]
    assert (mine.mode, mine.owner, others.owner) == (0o600, "fleet-relay:fleet-relay", "other:other")
    assert mine.secrets == ((0, len(mine.content)),)
    assert mine.masked == "***"
    assert "PRIVATE KEY" in mine.content
    assert (files["mine.crt"].mode, files["mine.crt"].owner, files["mine.crt"].secrets) == (0o644, "root:root", ())


def test_what_callers_meet_is_read_again_on_a_reload_of_every_relay_that_shows_it(built: Built) -> None:
    files = tls_files(built, "h1")
    assert files["mine.crt"].reloads == ("fleet-relay-R.service", "fleet-relay-S.service")
    assert files["relay-R.mine.key"].reloads == ("fleet-relay-R.service",)
    assert files["callers.pem"].reloads == ("fleet-relay-R.service",)
    assert files["other.crt"].reloads == files["relay-R.other.key"].reloads == ()


def test_the_relay_is_told_what_to_show_and_what_to_ask_for(built: Built) -> None:
    document = json.loads(built.file("h1", "/etc/fleet/relay-R.json").content)
    assert document["receive"]["tls"] == {
        "cert_file": "/etc/fleet/tls/mine.crt",
        "key_file": "/etc/fleet/tls/relay-R.mine.key",
        "ca_file": "/etc/fleet/tls/callers.pem",
    }
    assert document["destinations"]["PACS"]["tls"] == {
        "ca_file": "/etc/fleet/tls/clinic.pem",
        "server_name": "127.0.0.9",
        "cert_file": "/etc/fleet/tls/other.crt",
        "key_file": "/etc/fleet/tls/relay-R.other.key",
    }
    assert check_shape(document) == ()
    jsonschema.Draft202012Validator(read_schema("relay")).validate(document)
    other = json.loads(built.file("h1", "/etc/fleet/relay-S.json").content)
    assert other["receive"]["tls"]["ca_file"] is None


def test_the_products_have_nothing_against_it(built: Built) -> None:
    assert [each.message for each in built.target_problems() if "tls" in each.message.lower()] == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (", tls: {certificate: mine}}", "}", "listen in plain DICOM"),
        (
            "     tls: {verify: {ca: clinic}}, run: {engine: relay, user",
            "     run: {engine: relay, user",
            "run.tls of S",
        ),
        ("tls: {verify: {ca: clinic}}, run", "tls: {port: 99, verify: {ca: clinic}}, run", "one port"),
        (", name: pacs.clinic.example}, present: other}", "}}", "fleet's own probes show none"),
    ],
)
def test_what_is_served_and_what_is_told_are_one_thing(
    built: Built, tmp_path: Path, old: str, new: str, words: str
) -> None:
    assert old in TEXT
    changed = build(tmp_path, TEXT.replace(old, new), Vault(lambda: PASSWORD))
    assert any(words in each.message for each in changed.target_problems())


def test_without_a_password_the_hosts_that_show_a_certificate_are_refused(built: Built, tmp_path: Path) -> None:
    closed = build(tmp_path, TEXT, Vault())
    assert sum("was not opened" in each for each in closed.render_problems()) >= 1
    assert not any("h3" in each for each in closed.render_problems())
