"""The main job on real hosts: what the inventory says is there, all of it, and nothing is done twice."""

from tests.lab.hospital import ARCHIVE_PORT, SERVICE_PORT, UNITS, VIRTUAL_ADDRESS, Hospital

HAPROXY_FILE = "/etc/haproxy/haproxy.cfg"
EVERYTHING = {
    ("NORTH_PACS", VIRTUAL_ADDRESS, SERVICE_PORT),
    ("NORTH_PACS", "10.20.0.11", ARCHIVE_PORT),
    ("NORTH_PACS", "10.20.0.12", ARCHIVE_PORT),
    ("SOUTH_STORE", "10.30.0.11", ARCHIVE_PORT),
    ("SOUTH_MWL", "10.30.0.12", 11113),
    ("VENDOR_BOX", "10.20.6.10", 4242),
    ("NORTH_WS01", "10.20.4.41", ARCHIVE_PORT),
    ("NORTH_WS02", "10.20.4.42", ARCHIVE_PORT),
}


def test_apply_from_nothing_brings_every_service_up_and_a_second_one_touches_nothing(new_hospital: Hospital) -> None:
    hospital = new_hospital
    debian_s_own = hospital.lab["north-pacs-1"].read_file(HAPROXY_FILE)
    untouched = hospital.digests()

    # HAProxy's package brings a file that no manifest knows: until somebody says so, nobody writes anywhere.
    refused = hospital.playbook("apply")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert f"{HAPROXY_FILE} is there, differs, and no manifest knows it" in refused.stdout
    assert hospital.digests() == untouched

    done = hospital.playbook("apply", "--adopt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 hosts: 4 converged" in done.stdout
    for name, units in UNITS.items():
        states = hospital.lab[name].run(["systemctl", "is-active", *units]).stdout.split()
        assert states == ["active"] * len(units), (name, states)
        enabled = hospital.lab[name].run(["systemctl", "is-enabled", *units]).stdout.split()
        assert enabled == ["enabled"] * len(units), (name, enabled)
        assert hospital.lab[name].run("systemctl is-system-running").stdout == "running\n"
    assert hospital.lab["north-pacs-1"].read_file(f"/var/lib/fleet/originals{HAPROXY_FILE}") == debian_s_own
    assert hospital.holder() == "north-pacs-1"

    status, sweep = hospital.verify()
    assert status == 0, sweep
    assert sweep["schema"] == "fleet.sweep/1"
    assert {(row["ae_title"], row["address"], row["port"]) for row in sweep["results"]} == EVERYTHING
    assert {row["outcome"] for row in sweep["results"]} == {"answered"}

    status, sweep = hospital.verify("--from", "hosts")
    assert status == 0, sweep
    assert {(row["from"], row["calling"], row["ae_title"]) for row in sweep["results"]} == {
        (host, "NORTH_PACS", called)
        for host in ("north-pacs-1", "north-pacs-2")
        for called in ("SOUTH_STORE", "NORTH_WS01", "NORTH_WS02")
    }
    assert {row["outcome"] for row in sweep["results"]} == {"answered"}

    status, plan = hospital.plan()
    assert (status, plan["plan"]["changes"]) == (0, [])
    before, started = hospital.digests(), hospital.unit_starts()
    again = hospital.playbook("apply")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "4 hosts: 4 unchanged" in again.stdout
    assert hospital.digests() == before
    assert hospital.unit_starts() == started


def test_the_secret_of_the_pair_is_in_no_output_and_no_history(hospital: Hospital) -> None:
    hospital.lab["north-pacs-1"].run("sed -i s/lab4only/otherone/ /etc/keepalived/keepalived.conf", check=True)
    outputs = [hospital.fleet("plan"), hospital.fleet("plan", "-o", "json"), hospital.apply("-v")]
    assert "auth_pass <secret " in outputs[0].stdout
    said = "".join(done.stdout + done.stderr for done in outputs)
    beside = sorted(hospital.folder.parent.rglob("history.sqlite*"))
    assert {path.name for path in beside} >= {"history.sqlite", "history.sqlite.journal.jsonl"}, beside
    kept = b"".join(path.read_bytes() for path in beside if path.is_file())
    assert "lab4only" not in said
    assert "otherone" not in said
    assert b"otherone" not in kept
