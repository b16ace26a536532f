"""Outcomes of a sweep, each from its real cause: a vendor's archive, firewalls, processes that stand still."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lab.hospital import Hospital
from tests.lab.hosts import LabHost
from tests.lab.laboratory import Lab
from tests.lab.vendor import OrthancSettings, start_orthanc

FLEET = str(Path(sys.executable).with_name("fleet"))
NOBODY = "10.20.99.99"  # on the lab's own network, and no machine has it
ELSEWHERE = "192.0.2.1"  # RFC 5737: no route leads there
TOTAL_S = 6.0


@pytest.fixture
def box(lab: Lab) -> Iterator[LabHost]:
    """The vendor's box with Orthanc's defaults, and again afterwards."""
    host = lab["vendor-box"]
    start_orthanc(host, lab.controller)
    yield host
    host.iptables_clear()
    host.run("pkill -CONT Orthanc || true")
    start_orthanc(host, lab.controller)


def ask(lab: Lab, tmp_path: Path, *targets: str) -> tuple[int, Mapping[str, Any]]:
    """`fleet verify --targets` from the controller; results by title."""
    listed = tmp_path / "targets.csv"
    listed.write_text("".join(f"{target}\n" for target in targets), encoding="ascii")
    history = str(tmp_path / "history.sqlite")
    words = ("verify", "--targets", str(listed), "-o", "json", "--timeout", f"{TOTAL_S:g}s", "--history", history)
    started_at = time.monotonic()
    done = lab.controller.run([FLEET, *words], timeout_s=60)
    assert time.monotonic() - started_at < TOTAL_S + 5
    assert done.stdout, done.stderr
    return done.returncode, {row["ae_title"]: row for row in json.loads(done.stdout)["results"]}


def test_orthanc_answers_and_says_who_it_is(lab: Lab, box: LabHost, tmp_path: Path) -> None:
    status, rows = ask(lab, tmp_path, f"VENDOR_BOX,{box.address},4242", f"ANY_TITLE,{box.address},4242")
    assert status == 0
    assert {row["outcome"] for row in rows.values()} == {"answered"}, "Orthanc's defaults admit any called title"
    assert rows["VENDOR_BOX"]["peer"]["implementation_version"].startswith("OFFIS_DCMTK")


def test_orthanc_that_checks_titles_rejects_the_wrong_one(lab: Lab, box: LabHost, tmp_path: Path) -> None:
    start_orthanc(box, lab.controller, OrthancSettings(checks_called_title=True, strict_ae_comparison=True))
    status, rows = ask(lab, tmp_path, f"VENDOR_BOX,{box.address},4242", f"WRONG,{box.address},4242")
    assert status == 2
    assert rows["VENDOR_BOX"]["outcome"] == "answered"
    assert rows["WRONG"]["outcome"] == "association_rejected"
    assert "called AE title not recognized (1/1/7)" in rows["WRONG"]["detail"]
    assert f"FLEET_SCU at {lab.controller.address}" in rows["WRONG"]["detail"]


def test_orthanc_that_knows_no_caller_does_not_answer_one(lab: Lab, box: LabHost, tmp_path: Path) -> None:
    known = {"fleet": ("FLEET_SCU", lab.controller.address, 104)}
    start_orthanc(box, lab.controller, OrthancSettings(answers_unknown_callers=False, modalities=known))
    stranger, friend = f"VENDOR_BOX,{box.address},4242,STRANGER", f"VENDOR_BOX2,{box.address},4242,FLEET_SCU"
    status, rows = ask(lab, tmp_path, stranger, friend)
    assert status == 2
    assert rows["VENDOR_BOX2"]["outcome"] == "answered"
    assert rows["VENDOR_BOX"]["outcome"] in {"association_rejected", "association_aborted"}
    assert "STRANGER" in rows["VENDOR_BOX"]["detail"] or "abort" in rows["VENDOR_BOX"]["detail"]


def test_what_is_no_dicom_is_named(lab: Lab, box: LabHost, tmp_path: Path) -> None:
    _, rows = ask(lab, tmp_path, f"SSH,{box.address},22", f"WEB,{box.address},8042")
    assert rows["SSH"]["outcome"] == "not_dicom"
    assert "an SSH server" in rows["SSH"]["detail"]
    assert rows["WEB"]["outcome"] in {"not_dicom", "connection_lost"}, rows["WEB"]


@pytest.mark.parametrize(
    ("rule", "ending"),
    [
        ("-j DROP", ("connect_timeout", 4.0)),
        ("-j REJECT --reject-with tcp-reset", ("refused", 1.0)),
        ("-j REJECT --reject-with icmp-host-unreachable", ("no_route", 1.0)),
        ("-j REJECT --reject-with icmp-net-unreachable", ("no_route", 1.0)),
    ],
)
def test_each_firewall_ends_in_its_outcome(
    lab: Lab, box: LabHost, tmp_path: Path, rule: str, ending: tuple[str, float]
) -> None:  # T51
    outcome, within_s = ending
    done = box.run(f"iptables -I INPUT -p tcp --dport 4242 {rule}")
    assert done.returncode == 0, done.stderr
    status, rows = ask(lab, tmp_path, f"VENDOR_BOX,{box.address},4242")
    assert status == 2
    assert (rows["VENDOR_BOX"]["outcome"], rows["VENDOR_BOX"]["elapsed_s"] < within_s) == (outcome, True), rows


def test_nobody_there_no_way_there_and_no_such_name(lab: Lab, box: LabHost, tmp_path: Path) -> None:  # T51
    closed, absent = f"CLOSED,{box.address},4299", f"ABSENT,{NOBODY},104"
    status, rows = ask(lab, tmp_path, closed, absent, f"FAR,{ELSEWHERE},104", "NAMELESS,nobody.invalid,104")
    assert status == 2
    assert rows["CLOSED"]["outcome"] == "refused"
    assert rows["ABSENT"]["outcome"] in {"no_route", "connect_timeout"}  # ARP gives up after three seconds
    assert rows["FAR"]["outcome"] == "no_route"
    assert rows["NAMELESS"]["outcome"] == "name_not_found"


def test_a_server_that_stands_still_is_a_timeout_of_the_association(lab: Lab, box: LabHost, tmp_path: Path) -> None:
    assert box.run("pkill -STOP Orthanc").returncode == 0
    status, rows = ask(lab, tmp_path, f"VENDOR_BOX,{box.address},4242")
    assert status == 2
    assert rows["VENDOR_BOX"]["outcome"] == "association_timeout"
    assert rows["VENDOR_BOX"]["elapsed_s"] < TOTAL_S + 1


def test_a_site_behind_one_firewall_is_told_once(
    lab: Lab, box: LabHost, tmp_path: Path, remark: Callable[[str], None]
) -> None:
    assert box.run("iptables -I INPUT -p tcp --dport 4000:4999 -j DROP").returncode == 0
    listed = tmp_path / "targets.csv"
    listed.write_text("".join(f"AE{n:02},{box.address},{4200 + n}\n" for n in range(13)), encoding="ascii")
    history = ("--history", str(tmp_path / "history.sqlite"))
    words = ("verify", "--targets", str(listed), "--timeout", "4s", "--max-associations-per-host", "13")
    done = lab.controller.run([FLEET, *words, *history], timeout_s=90)
    remark(f"13 AEs behind one firewall: {done.stdout.splitlines()[0]}")
    assert done.stdout.startswith("13 connect_timeout: all "), done.stdout
    again = lab.controller.run([FLEET, *words, *history, "-l", "@failed", "--compare", "last"], timeout_s=90)
    assert again.stdout.startswith("13 connect_timeout: all "), again.stdout
    assert "no change since" in again.stdout


def test_a_host_that_forbids_forwarding_asks_by_its_own_echoscu(hospital: Hospital) -> None:
    host = hospital.lab["north-pacs-1"]
    rule = "/etc/ssh/sshd_config.d/forwarding.conf"
    _, before = hospital.verify("--from", "hosts")
    host.write_file(rule, "DisableForwarding yes\n")
    host.systemctl("reload", "ssh")
    try:
        _, document = hospital.verify("--from", "hosts")
    finally:
        host.run(["rm", rule])
        host.systemctl("reload", "ssh")
    asked = {place(row): row for row in document["results"] if row["from"] == host.name}
    assert asked
    assert all(f"echoscu on {host.name}, which forbids forwarding" in row["detail"] for row in asked.values()), asked
    through = {place(row): row["outcome"] for row in before["results"] if row["from"] == host.name}
    assert {key: row["outcome"] for key, row in asked.items()} == through


def place(row: Mapping[str, Any]) -> tuple[str, str, int, str]:
    return row["ae_title"], row["address"], row["port"], row["calling"]
