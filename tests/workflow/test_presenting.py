"""`tls.present`: who we are to a peer that asks; a key that was not opened is told, not skipped in silence."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleet.secrets.secret import SealedSecret
from fleet.secrets.vault import Vault
from fleet.verify.values import Outcome
from fleet.workflow.context import Context
from fleet.workflow.naming import find_call
from fleet.workflow.reading import Reading, read_valid
from fleet.workflow.targets import make_questions
from tests.validate.write_certificates import CASES, PASSWORD

NOW = datetime(2026, 11, 21, tzinfo=UTC)
TEXT = """\
fleet: {name: test}
site: north
probers: [{ae_title: FLEET_SCU, addresses: [127.0.0.1]}]
certificates:
  clinic: {ca_file: ca.pem}
  mine: {cert_file: leaf.pem, key: leaf.key}
entities:
  - {ae_title: PACS, kind: archive, address: 127.0.0.9, tls: {port: 2762, verify: {ca: clinic}, present: mine}}
  - {ae_title: PLAIN, kind: archive, address: 127.0.0.8, port: 104}
"""


def read(folder: Path, vault: Vault) -> tuple[Reading, Context]:
    (folder / "ca.pem").write_text((CASES / "certificate-unreadable" / "ca.pem").read_text())
    for name in ("leaf.pem", "leaf.key"):
        (folder / name).write_text((CASES / "certificate-key-foreign" / name).read_text())
    (folder / "a.yml").write_text(TEXT)
    context = Context(folder, folder / "history", vault=vault, clock=lambda: NOW)
    return read_valid(context), context


def test_a_sweep_presents_the_certificate_to_the_peer_that_it_is_for_and_to_no_other(tmp_path: Path) -> None:
    reading, context = read(tmp_path, Vault(lambda: PASSWORD))
    found = make_questions(reading.inventory, reading.inventory.entities, NOW)
    by_title = {target.ae_title: target for target in found.targets}
    tls = by_title["PACS"].tls
    assert tls is not None
    assert tls.certificate is not None
    assert b"PRIVATE KEY" in tls.certificate.key_pem
    assert "PRIVATE KEY" not in repr(found)
    assert by_title["PLAIN"].tls is None
    assert find_call(reading, context, "FLEET_SCU", "PACS").tls == tls


def test_without_a_password_it_is_a_local_error_that_says_what_to_give(tmp_path: Path) -> None:
    reading, context = read(tmp_path, Vault())
    found = make_questions(reading.inventory, reading.inventory.entities, NOW)
    assert [target.ae_title for target in found.targets] == ["PLAIN"]
    assert [(each.outcome, "--vault-password-file" in each.detail) for each in found.skipped] == [
        (Outcome.LOCAL_ERROR, True)
    ]
    with pytest.raises(SealedSecret, match="--vault-password-file"):
        find_call(reading, context, "FLEET_SCU", "PACS")
