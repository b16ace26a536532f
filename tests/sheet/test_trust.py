"""A box that speaks TLS is told whom to trust and what to show, and nobody else is told anything."""

import json
import re
from dataclasses import replace
from pathlib import Path

from fleet.inventory.model import Certificate
from fleet.inventory.peers import Peers
from fleet.secrets.credentials import parse_certificates
from fleet.sheet.boxes import Sheet, make_sheet
from fleet.sheet.changes import changed_since, decide_boxes
from fleet.sheet.formats import format_sheets_csv, format_sheets_html, format_sheets_text
from fleet.sheet.trust import ITSELF, OURS, Need
from tests.sheet.fleets import load

CASES = Path(__file__).parents[1] / "cases" / "rules" / "certificate-name-foreign"
CA, OWN = (CASES / "ca.pem").read_text("ascii"), (CASES / "gate.pem").read_text("ascii")
PEMS = {"clinic": CA, "callers": CA, "outside": CA}

# The archive is a relay of ours that lets nobody in without a certificate; the box outside asks us for ours.
RELAY = (
    "    run: {engine: dcmqrscp, storage_area: /var/lib/dcmtk/PACS}\n",
    """    run: {engine: relay, tls: {certificate: mine, callers_ca: callers}}
    tls: {verify: {ca: clinic, name: pacs.clinic.example}}
""",
)
BOX = ("tls: {port: 2762}", "tls: {port: 2762, verify: {ca: outside, name: dicom.telerad.example}, present: mine}")
TO_BOX = ("from: WS01, to: VENDOR_PACS", "from: WS01, to: TELERAD")


def page(title: str, pems: dict[str, str] | None = None) -> Sheet:
    inventory = load(RELAY, BOX, TO_BOX)
    known = {name: Certificate(name, ca_file="ca.pem", ca_pem=pem) for name, pem in (pems or PEMS).items()}
    known["mine"] = Certificate("mine", cert_file="gate.pem", cert_pem=OWN)
    inventory = replace(inventory, certificates=known)
    return make_sheet(Peers(inventory), inventory.by_title[title])


def needs(title: str) -> list[tuple[Need, str, str, str]]:
    return [(need.need, need.peer, need.certificate, need.name) for need in page(title).tls]


def text_of(title: str) -> str:
    return format_sheets_text(decide_boxes([page(title)], {}))


def test_who_calls_by_tls_is_told_whom_to_trust_and_that_it_must_show_a_certificate() -> None:
    assert needs("US01") == [
        (Need.SHOW_CALLED, "PACS", "callers", ""),
        (Need.TRUST_CALLED, "PACS", "clinic", "pacs.clinic.example"),
    ]
    text = text_of("US01")
    assert 'trust the CA "clinic": PACS shows a certificate by it for the name pacs.clinic.example' in text
    assert 'show PACS a certificate of this box by the CA "callers": it lets nobody in without one' in text


def test_who_is_called_by_tls_is_told_what_to_show_and_who_asks() -> None:
    assert needs("TELERAD") == [
        (Need.SHOW_CALLERS, ITSELF, "outside", "dicom.telerad.example"),
        (Need.TRUST_CALLERS, OURS, "mine", ""),
    ]
    text = text_of("TELERAD")
    assert 'show a certificate of this box by the CA "outside" for the name dicom.telerad.example' in text
    assert "issued by CN=Clinic CA" in text


def test_a_box_that_asks_us_for_a_certificate_asks_other_boxes_too() -> None:
    assert (Need.SHOW_CALLED, "TELERAD", "", "") in needs("WS01")
    assert "show TELERAD a certificate of this box that it takes (ask its owner)" in text_of("WS01")


def test_a_certificate_is_told_by_its_fingerprint_once() -> None:
    fingerprint = parse_certificates(CA)[0].fingerprint
    assert re.fullmatch(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", fingerprint)
    assert text_of("US01").count(f"CN=Clinic CA, SHA-256 {fingerprint}") == 1


def test_every_form_of_the_sheet_says_it() -> None:
    statuses = decide_boxes([page("US01")], {})
    assert "<h2>TLS: what this box has to be given</h2>" in format_sheets_html(statuses)
    assert "trust the CA of whom it calls,PACS," in format_sheets_csv(statuses)


def test_without_tls_nothing_is_said_and_no_sheet_changes() -> None:
    inventory = load()
    plain = make_sheet(Peers(inventory), inventory.by_title["CT01"])
    assert (plain.tls, "tls" in plain.typed()) == ((), False)
    assert "TLS:" not in format_sheets_text(decide_boxes([plain], {}))


def test_another_ca_of_the_same_name_has_to_be_loaded() -> None:
    before = json.loads(json.dumps(page("US01").to_json()))
    assert changed_since(before, page("US01")) == ()
    after = page("US01", {**PEMS, "clinic": OWN})
    assert after.digest != before["digest"]
    (line,) = changed_since(before, after)
    assert line.startswith("change TLS of PACS (trust the CA of whom it calls): of was CN=Clinic CA, SHA-256 ")


def test_a_ca_that_cannot_be_read_does_not_stop_the_sheet() -> None:
    (shown, trusted) = page("US01", {"clinic": "no certificate"}).tls
    assert (shown.holds, trusted.holds, trusted.certificate) == ((), (), "clinic")
