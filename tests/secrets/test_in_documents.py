"""`!vault` in an inventory: where it may stand, what is told where, and what becomes of it."""

from pathlib import Path

import pytest

from fleet.secrets.vault import Vault
from fleet.secrets.vault_format import seal_bytes
from fleet.validate.reading import Reading, read_inventory

CANARY = "canary77"


def vault_value(clear: str, indentation: int, password: bytes = b"pw") -> str:
    text = seal_bytes(clear.encode(), password, b"salt" * 8)
    return "!vault |\n" + "".join(f"{' ' * indentation}{line}\n" for line in text.splitlines())


def read(folder: Path, text: str, password: bytes | None = b"pw") -> Reading:
    (folder / "a.yml").write_text(text, encoding="utf-8")
    return read_inventory(folder, Vault(None if password is None else lambda: password))


def tell(reading: Reading) -> list[str]:
    return [f"{each.location.line}:{each.location.column} {each.code}" for each in reading.problems]


HOST = "fleet: {name: f}\nsite: n\nhosts:\n  h1:\n    address: 127.0.0.1\n    vars:\n      token: "


def test_a_variable_is_opened_and_shows_nothing_of_itself(tmp_path: Path) -> None:
    reading = read(tmp_path, HOST + vault_value(CANARY, 8))
    assert tell(reading) == []
    host = reading.loaded.inventory.hosts["h1"]
    assert host.vars["token"].reveal() == CANARY
    assert CANARY not in repr(reading) + repr(reading.loaded.inventory) + repr(reading.documents)


def test_secrets_stand_anywhere_below_vars_of_every_layer(tmp_path: Path) -> None:
    sealed = vault_value(CANARY, 14)
    text = f"""
fleet:
  name: f
  vars:
    a:
      - {sealed}
  defaults:
    kinds:
      archive:
        vars:
          b: {sealed}
site: n
vars:
  deep:
    deeper:
      c: {sealed}
"""
    assert tell(read(tmp_path, text)) == []


def test_auth_pass_and_a_certificate_s_key_may_be_secrets(tmp_path: Path) -> None:
    text = f"""
fleet: {{name: f}}
site: n
certificates:
  mine:
    key: {vault_value(CANARY, 10)}
virtual_services:
  - name: front
    entity: A
    addresses: [10.0.0.9/24]
    port: 104
    vrrp:
      interface: eth0
      virtual_router_id: 5
      priority: {{h1: 100}}
      auth_pass: {vault_value(CANARY, 10)}
"""
    reading = read(tmp_path, text)
    assert tell(reading) == []
    inventory = reading.loaded.inventory
    vrrp, key = inventory.virtual_services[0].vrrp, inventory.certificates["mine"].key
    assert vrrp is not None
    assert vrrp.auth_pass is not None
    assert key is not None
    assert (vrrp.auth_pass.reveal(), key.reveal()) == (CANARY, CANARY)


@pytest.mark.parametrize(
    "text",
    [
        "fleet:\n  name: {}",
        "fleet: {{name: f}}\nsite: n\nhosts:\n  h1:\n    address: {}",
        "fleet: {{name: f}}\nsite: n\nhosts:\n  vars:\n    address: {}",
        "fleet: {{name: f}}\nsite: n\nlabels:\n  vars: {}",
        "fleet: {{name: f}}\ncertificates:\n  vars:\n    cert_file: {}",
        "fleet: {{name: f}}\ngroups:\n  vars: {}",
        "fleet: {{name: f}}\nsite: n\nretired_titles:\n  - until: 2030-01-01\n    ae_title: {}",
    ],
)
def test_elsewhere_a_secret_is_refused_at_its_place_and_told_once(tmp_path: Path, text: str) -> None:
    before, _ = text.split("{}")
    reading = read(tmp_path, text.format(vault_value(CANARY, 10)))
    line = before.count("\n") + 1
    column = len(before.split("\n")[-1].replace("{{", "{")) + 1
    told = [each for each in tell(reading) if "name-" not in each]
    assert told[:1] == [f"{line}:{column} secret-misplaced"]
    assert sum("secret-misplaced" in each for each in told) == 1
    assert not any("schema-type" in each for each in told)
    assert "below `vars`" in next(each.message for each in reading.problems if each.code == "secret-misplaced")


@pytest.mark.parametrize("typed", ["!vault [a]", "!vault {a: b}", "{!vault a: b}", "&x !vault a"])
def test_only_a_plain_text_is_a_secret(tmp_path: Path, typed: str) -> None:
    found = tell(read(tmp_path, f"fleet: {{name: f}}\nvars: {{a: {typed}}}\n"))
    assert any("secret-misplaced" in each or "yaml-alias" in each for each in found)


def test_a_playbook_holds_no_secrets(tmp_path: Path) -> None:
    from fleet.documents.strict_yaml import parse_document

    _, problems = parse_document(b"- name: !vault x\n", "p.yml", frozenset())
    assert [problem.code for problem in problems] == ["secret-misplaced"]


# T39
@pytest.mark.parametrize(
    ("value", "code"),
    [
        (vault_value(CANARY, 8, b"another"), "vault-password"),
        (vault_value(CANARY, 8).replace("AES256", "AES512"), "vault-damaged"),
        (vault_value(CANARY, 8)[:-2] + "\n", "vault-damaged"),
        (f"!vault {CANARY}", "vault-damaged"),
        ("!vault", "vault-damaged"),
    ],
)
def test_what_is_wrong_with_it_is_told_at_its_place_without_its_text(tmp_path: Path, value: str, code: str) -> None:
    reading = read(tmp_path, HOST + value)
    assert tell(reading) == [f"7:14 {code}"]
    assert CANARY not in reading.problems[0].message


def test_without_a_password_everything_else_is_still_checked(tmp_path: Path) -> None:
    reading = read(tmp_path, HOST + vault_value(CANARY, 8) + "nonsense: 1\n", password=None)
    assert [each.split()[1] for each in tell(reading)] == ["schema-unknown-key"]
    assert reading.documents.vault.unopened == 1


def test_a_problem_beside_a_secret_keeps_its_place(tmp_path: Path) -> None:
    reading = read(tmp_path, HOST + vault_value(CANARY, 8) + "    adress: x\n")
    line = (tmp_path / "a.yml").read_text().count("\n")
    assert tell(reading) == [f"{line}:5 schema-unknown-key"]


def test_a_key_comes_from_a_file_that_ansible_vault_encrypted(tmp_path: Path) -> None:
    (tmp_path / "mine.key").write_text(seal_bytes(CANARY.encode(), b"pw", b"salt"))
    reading = read(tmp_path, "fleet: {name: f}\ncertificates: {mine: {key: mine.key}}\n")
    key = reading.loaded.inventory.certificates["mine"].key
    assert tell(reading) == []
    assert key is not None
    assert key.reveal() == CANARY
    wrong = read(tmp_path, "fleet: {name: f}\ncertificates: {mine: {key: mine.key}}\n", b"no")
    assert tell(wrong) == ["2:28 vault-password"]
    closed = read(tmp_path, "fleet: {name: f}\ncertificates: {mine: {key: mine.key}}\n", None)
    assert (tell(closed), closed.documents.vault.unopened) == ([], 1)


def test_a_key_in_clear_in_the_inventory_is_refused(tmp_path: Path) -> None:
    text = (
        f"fleet: {{name: f}}\ncertificates:\n  mine:\n    key: |\n      -----BEGIN PRIVATE KEY-----\n      {CANARY}\n"
    )
    reading = read(tmp_path, text)
    assert tell(reading) == ["4:10 secret-in-clear"]
    assert CANARY not in reading.problems[0].message
