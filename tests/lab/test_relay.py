"""A relay from the inventory to its host, and what goes through it there: everything arrives, as it left, whatever
happens to the relay, to its destinations and to its disk."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.targets.relay import PROGRAM, PYTHON
from tests.lab.gate import (
    ADDRESS,
    CONFIG,
    PACS_UNIT,
    PORT,
    SECURE_PORT,
    SPOOL,
    UID_ROOT,
    UNIT,
    Gate,
    Sender,
    make_parcel,
    only,
    open_gate,
)
from tests.lab.hospital import wait_until
from tests.lab.images import (
    BASELINE,
    JPEG_2000,
    JPEG_LS,
    KINDS,
    LOSSLESS,
    PLANTED,
    RLE,
    read_digests,
    read_values,
    write_studies,
)
from tests.lab.laboratory import Lab

SOAK = os.environ.get("FLEET_SOAK") == "1"
STUDIES = 220 if SOAK else 14
OUT_OF_RESOURCES = 0xA700
SAFE_TLS = "tls: {port: 2762, verify: {ca: gate-ca, name: "


@pytest.fixture(scope="module")
def gate(lab_for_all: Lab) -> Iterator[Gate]:
    for host in lab_for_all.hosts.values():
        host.iptables_clear()
    with open_gate(lab_for_all) as gate:
        done = gate.hospital.apply("--adopt")
        assert done.returncode == 0, done.stdout + done.stderr
        yield gate


def make_files(gate: Gate, name: str, studies: int, seed: int) -> tuple[Path, list[Path]]:
    folder = gate.folder / name
    folder.mkdir()
    return folder, write_studies(folder, studies, seed)


def test_fleet_apply_puts_program_file_and_unit_on_the_host(gate: Gate, remark: Callable[[str], None]) -> None:
    host = gate.relay
    assert gate.is_ready()
    assert host.run(["stat", "-c", "%a %U:%G", PROGRAM, CONFIG, SPOOL]).stdout.split("\n")[:3] == [
        "644 root:root", "640 root:fleet-relay", "700 fleet-relay:fleet-relay",
    ]  # fmt: skip
    assert gate.hospital.plan()[0] == 0
    pid = gate.main_pid()
    again = gate.hospital.apply()
    assert (again.returncode, gate.main_pid()) == (0, pid)
    limits = host.read_file(f"/proc/{pid}/limits")
    assert limits.partition("Max core file size")[2].split()[:2] == ["0", "0"]  # T73
    assert host.run(["stat", "-c", "%U", f"/proc/{pid}"]).stdout.strip() == "fleet-relay"
    verified = host.run(["systemd-analyze", "verify", f"/etc/systemd/system/{UNIT}"])
    assert (verified.returncode, verified.stderr) == (0, "")
    score = host.run(["systemd-analyze", "security", "--no-pager", UNIT]).stdout.splitlines()[-1]
    remark(f"relay's unit, by systemd-analyze security: {score.strip(' →')}")
    assert float(score.split(": ")[1].split()[0]) < 2.5, score


def test_every_kind_of_instance_arrives_at_both_destinations_as_it_left(
    gate: Gate, remark: Callable[[str], None]
) -> None:
    folder, files = make_files(gate, "everything", STUDIES, 1)
    left = read_values(files)
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    started_at = time.monotonic()
    sent = gate.dcmsend(folder)
    taken_s = time.monotonic() - started_at
    assert sent.returncode == 0, (sent.stdout + sent.stderr)[-3000:]
    gate.wait_until_delivered(within_s=900)
    remark(
        f"relay: {len(files)} instances ({megabytes:.0f} MB, {len(KINDS)} kinds) taken in {taken_s:.1f} s, "
        f"with dcmqrscp, Orthanc and storescp by TLS after {time.monotonic() - started_at:.1f} s"
    )
    # dcmsend chooses among the transfer syntaxes that are not compressed; what is compressed stays as it was.
    assert only(gate.in_archive(read_values), left) == left
    assert only(gate.in_vendor_s_box(read_values), left) == left
    magnetic = {uid for uid in left if KINDS[int(uid.split(".")[-2]) - 1].modality == "MR"}
    assert gate.in_safe(read_values) == only(left, magnetic)
    assert {syntax for syntax, _ in left.values()} == {"", RLE, JPEG_LS, BASELINE, LOSSLESS, JPEG_2000}


def test_storescu_s_images_go_through_as_well(gate: Gate) -> None:
    folder = gate.folder / "storescu"
    folder.mkdir()
    files = write_studies(folder, 1, 2, KINDS[:2])
    command = ["/usr/bin/storescu", "-aet", "GATE_CT", "-aec", "GATE", ADDRESS, str(PORT), *map(str, files)]
    done = gate.hospital.lab.controller.run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    gate.wait_until_delivered()
    left = read_digests(files)
    assert set(only(gate.in_archive(), left)) == set(left)
    assert {digest for _, digest in only(gate.in_vendor_s_box(), left).values()} == {
        digest for _, digest in left.values()
    }


def test_what_a_lost_destination_missed_arrives_when_it_is_back_and_the_other_never_waits(gate: Gate) -> None:
    folder, files = make_files(gate, "lost", 2, 3)
    left = read_values(files)
    gate.stores.iptables_drop(port=PORT)
    try:
        assert gate.dcmsend(folder).returncode == 0
        wait_until(lambda: set(only(gate.in_vendor_s_box(), left)) == set(left), 30)
        wait_until(lambda: gate.destination("GATE_PACS")["state"] in {"failing", "down"}, 30)
        assert gate.destination("GATE_PACS")["queued"] == len(files)
    finally:
        gate.stores.systemctl("stop", PACS_UNIT)
        gate.stores.iptables_clear()
    assert gate.ask("retry", "GATE_PACS").returncode == 0
    wait_until(lambda: "refused" in gate.destination("GATE_PACS")["why"], 30)
    gate.stores.systemctl("start", PACS_UNIT)
    gate.ask("retry")
    wait_until(lambda: gate.ask("retry").returncode == 0 and gate.ask("left").returncode == 0, 60)
    assert only(gate.in_archive(read_values), left) == left


def test_a_relay_killed_under_load_loses_nothing_that_it_acknowledged(
    gate: Gate, remark: Callable[[str], None]
) -> None:
    _, files = make_files(gate, "killed", 12, 4)
    left = read_digests(files)
    sender = Sender(gate, files)
    with sender.running():
        for number in (15, 70):
            sender.wait_for(number)
            gate.relay.kill_service(UNIT)
    assert sender.acknowledged == set(left)
    gate.wait_until_delivered()
    assert only(gate.in_archive(), left) == left
    assert set(only(gate.in_vendor_s_box(), left)) == set(left)
    remark(f"relay killed twice under load: {len(files)} instances in {sender.associations} associations, none lost")
    assert gate.relay.run("ls -d /var/cache/fleet-relay-GATE/fleet-relay-* | wc -l").stdout.strip() == "1"


def test_a_relay_that_hangs_is_ended_by_systemd_and_comes_back(gate: Gate, remark: Callable[[str], None]) -> None:
    folder = f"/run/systemd/system/{UNIT}.d"
    gate.relay.write_file(f"{folder}/impatient.conf", "[Service]\nWatchdogSec=3\n")
    try:
        gate.relay.systemctl("daemon-reload")
        gate.relay.systemctl("restart", UNIT)
        pid = gate.main_pid()
        gate.relay.run(["kill", "-STOP", str(pid)], check=True)
        taken_s = wait_until(lambda: gate.main_pid() not in {0, pid} and gate.is_ready(), 40)
        remark(f"relay that hung was replaced after {taken_s:.1f} s (a watchdog of 3 s)")
        assert "watchdog" in gate.journal().lower()
    finally:
        gate.relay.run(["rm", "-rf", folder])
        gate.relay.systemctl("daemon-reload")
    gate.relay.systemctl("restart", UNIT)


def test_a_new_file_is_taken_while_an_association_stays(gate: Gate) -> None:
    _, (path, *_) = make_files(gate, "reload", 1, 5)
    pid = gate.main_pid()
    with gate.connect() as association:
        gate.hospital.replace("gate.yml", "when: {modality: MR}", "when: {modality: [MR, PT]}")
        gate.hospital.replace("gate.yml", f"{SAFE_TLS}safe", f"{SAFE_TLS}other")
        done = gate.hospital.apply()
        assert done.returncode == 0, done.stdout + done.stderr
        assert '"PT"' in gate.relay.read_file(CONFIG)
        wait_until(lambda: '"reloaded"' in gate.journal(), 10)
        assert association.store(make_parcel(path)) == 0
        association.release()
    assert gate.main_pid() == pid


def test_a_destination_that_proves_another_name_gets_nothing(gate: Gate) -> None:
    folder = gate.folder / "name"
    folder.mkdir()
    files = write_studies(folder, 1, 8, (KINDS[3],))
    left = read_digests(files)
    assert "other.gate.example" in gate.relay.read_file(CONFIG)
    assert gate.dcmsend(folder).returncode == 0
    wait_until(lambda: "other.gate.example" in gate.destination("GATE_SAFE")["why"], 20)
    assert only(gate.in_safe(), left) == {}


def test_a_file_that_the_relay_could_not_carry_out_is_refused_before_it_is_there(gate: Gate) -> None:
    before, pid = gate.relay.read_file(CONFIG), gate.main_pid()
    gate.hospital.add("templates/relay.json.j2", '{"surprise": 1}\n')
    try:
        done = gate.hospital.apply()
        assert done.returncode == 2, done.stdout + done.stderr
        assert "fleet-relay.pyz check says that the file is bad" in done.stdout + done.stderr
        assert (gate.relay.read_file(CONFIG), gate.main_pid()) == (before, pid)
    finally:
        (gate.hospital.folder / "templates/relay.json.j2").unlink()
        (gate.hospital.folder / "templates").rmdir()
    assert gate.hospital.plan()[0] == 0


def test_a_file_is_judged_by_the_program_that_comes_with_it(gate: Gate) -> None:
    gate.relay.write_file(PROGRAM, "raise SystemExit('an older program, which knows nothing of this file')\n")
    gate.hospital.replace("gate.yml", "when: {modality: [MR, PT]}", "when: {modality: MR}")
    gate.hospital.replace("gate.yml", f"{SAFE_TLS}other", f"{SAFE_TLS}safe")
    doctor = gate.hospital.fleet("doctor", "-l", "gate-1")
    assert "is not this fleet's" in doctor.stdout, doctor.stdout
    status, plan = gate.hospital.plan()
    assert status == 3
    assert "+binary, " in json.dumps(plan)
    pid = gate.main_pid()
    done = gate.hospital.apply()
    assert done.returncode == 0, done.stdout + done.stderr
    assert gate.main_pid() != pid
    assert gate.ask("check").returncode == 0
    # With the name put right, what waited for it goes on.
    gate.ask("retry")
    gate.wait_until_delivered()
    waited = read_digests(list((gate.folder / "name").iterdir()))
    assert only(gate.in_safe(), waited) == waited


def test_a_full_spool_answers_out_of_resources_and_takes_again_when_there_is_room(gate: Gate) -> None:
    folder = gate.folder / "full"
    folder.mkdir()
    files = write_studies(folder, 2, 6, (KINDS[0],) * 20)
    left = read_digests(files)
    gate.relay.systemctl("stop", UNIT)
    gate.relay.mount_small_disk(SPOOL, 14_000_000, inodes=500)
    try:
        gate.relay.run(f"chown fleet-relay:fleet-relay {SPOOL} && chmod 700 {SPOOL}", check=True)
        gate.relay.systemctl("start", UNIT)
        gate.ask("pause", "GATE_PACS")
        first = Sender(gate, files, rounds=1)
        first.run()
        assert set(first.statuses) == {OUT_OF_RESOURCES}
        assert first.acknowledged
        gate.relay.run(f"mount -o remount,size=64m {SPOOL}", check=True)
        rest = [path for path in files if path.name.removesuffix(".dcm") not in first.acknowledged]
        second = Sender(gate, rest)
        second.run()
        assert first.acknowledged | second.acknowledged == set(left)
        gate.ask("resume", "GATE_PACS")
        gate.wait_until_delivered()
        assert only(gate.in_archive(), left) == left
    finally:
        gate.relay.systemctl("stop", UNIT)
        gate.relay.unmount(SPOOL)
        gate.relay.systemctl("start", UNIT)


def test_a_stop_lets_it_drain_and_takes_no_longer_than_it_may(  # T78
    gate: Gate, remark: Callable[[str], None]
) -> None:
    _, files = make_files(gate, "stopped", 4, 7)
    left = read_digests(files)
    sender = Sender(gate, files)
    with sender.running():
        sender.wait_for(10)
        started_at = time.monotonic()
        gate.relay.systemctl("stop", UNIT)
        taken_s = time.monotonic() - started_at
        shown = gate.relay.run(["systemctl", "show", "--property=Result,ExecMainStatus", UNIT]).stdout
        gate.relay.systemctl("start", UNIT)
    remark(f"relay stopped under load within {taken_s:.1f} s")
    assert taken_s < 30
    assert shown.split() == ["Result=success", "ExecMainStatus=0"]
    assert sender.acknowledged == set(left)
    gate.wait_until_delivered()
    assert only(gate.in_archive(), left) == left


def test_a_relay_that_receives_by_tls_takes_from_who_speaks_it_and_from_nobody_else(gate: Gate) -> None:
    folder = gate.folder / "secure"
    folder.mkdir()
    (path,) = write_studies(folder, 1, 9, (KINDS[0],))
    words = ["-aet", "GATE_CT", "-aec", "GATE_TLS", ADDRESS, str(SECURE_PORT), str(path)]
    plain = gate.hospital.lab.controller.run(["/usr/bin/storescu", "-ta", "5", *words])
    assert plain.returncode != 0
    done = gate.hospital.lab.controller.run(["/usr/bin/storescu", "+tla", "+cf", str(gate.folder / "ca.pem"), *words])
    assert done.returncode == 0, done.stdout + done.stderr
    left = read_digests([path])
    wait_until(lambda: only(gate.in_archive(), left) == left, 20)
    keys = gate.relay.run("stat -c '%a %U' /etc/fleet/tls/*.key").stdout
    assert keys == "600 fleet-relay\n"


def test_operators_look_after_the_queue_on_the_host(gate: Gate) -> None:
    folder = gate.folder / "operate"
    folder.mkdir()
    files = write_studies(folder, 1, 10, KINDS[:2])
    study = f"{UID_ROOT}10.1"
    assert gate.ask("pause", "GATE_PACS").returncode == 0
    assert gate.dcmsend(folder).returncode == 0
    assert "GATE_PACS        paused   2 queued" in gate.ask("status").stdout
    rows = [json.loads(line) for line in gate.ask("list", "--state", "queued").stdout.splitlines()]
    assert {(row["destination"], row["study"]) for row in rows} == {("GATE_PACS", study)}
    assert gate.ask("left").returncode == 2
    assert gate.ask("resume", "GATE_PACS").returncode == 0
    gate.wait_until_delivered()
    assert '"changed": 2' in gate.ask("resend", study, "--to", "GATE_PACS").stdout
    gate.wait_until_delivered()
    assert gate.ask("quarantine", "show").stdout == ""
    assert "GATE_SAFE" in gate.ask("when", "safe").stdout
    assert 'fleet_relay_events_total{event="delivered"}' in gate.ask("metrics").stdout
    assert "from GATE_CT" in gate.ask("status").stdout
    assert set(only(gate.in_archive(), read_digests(files))) == set(read_digests(files))


def test_no_name_and_no_uid_of_a_patient_stands_in_journal_metrics_or_status(gate: Gate) -> None:  # T73
    told = gate.journal() + gate.ask("metrics").stdout + gate.ask("status", "--json").stdout
    assert '"stored"' in told or '"started"' in told
    for planted in (*PLANTED, UID_ROOT):
        assert planted not in told, planted
    assert gate.relay.run(f"ls -R {SPOOL} | grep -c -e {UID_ROOT} -e {PLANTED[0]}").stdout.strip() == "0"


def test_a_second_relay_on_the_same_spool_exits(gate: Gate) -> None:  # T77
    command = f"setpriv --reuid=fleet-relay --regid=fleet-relay --clear-groups {PYTHON} -I {PROGRAM} run {CONFIG}"
    done = gate.relay.run(command, timeout_s=30)
    assert done.returncode == 1
    assert "another relay works on the spool" in done.stderr
    assert gate.is_ready()


def test_a_relay_is_not_removed_before_its_spool_is_empty_and_its_spool_never(gate: Gate) -> None:
    folder = gate.folder / "removed"
    folder.mkdir()
    files = write_studies(folder, 1, 11, (KINDS[0],))
    gate.ask("pause", "GATE_PACS")
    assert gate.dcmsend(folder).returncode == 0
    text = (gate.hospital.folder / "gate.yml").read_text(encoding="utf-8")
    relay_lines, rest = text.partition("  - {ae_title: GATE,")[2].partition("  - ae_title: GATE_PACS")[::2]
    smaller = text.partition("relays:")[0].replace(f"  - {{ae_title: GATE,{relay_lines}", "")
    flows = smaller.partition("flows:")[2].partition("waivers:")[0]
    smaller = smaller.replace(flows, "\n  - {from: GATE_CT, to: GATE_PACS, services: [storage]}\n")
    assert rest
    gate.hospital.add("gate.yml", smaller.replace("{address: 10.40.0.11,", "{retired: true, address: 10.40.0.11,"))
    refused = gate.hospital.apply("--allow-removal", "2")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "its spool may hold instances that nobody else has: 1 queued left" in refused.stdout + refused.stderr
    assert gate.is_ready()
    gate.ask("resume", "GATE_PACS")
    gate.wait_until_delivered()
    done = gate.hospital.apply("--allow-removal", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not gate.relay.has_file(CONFIG)
    assert not gate.relay.has_file(PROGRAM)
    assert not gate.relay.has_file(f"/etc/systemd/system/{UNIT}")
    assert gate.relay.has_file(f"{SPOOL}/queue.sqlite")
    left = read_digests(files)
    assert only(gate.in_archive(), left) == left
