"""nightly-verify.yml from cron: it sweeps whatever happened to the inventory by day, and says so."""

from tests.lab.hospital import PACS_FILE, Hospital


def test_a_quiet_night_says_so_and_finds_no_drift(hospital: Hospital) -> None:
    done = hospital.playbook("nightly-verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 associations: 14 answered" in done.stdout
    assert "everything answers\n" in done.stdout
    assert hospital.playbook("nightly-verify", "-q").stdout == "", "cron sends no mail when all is well"


def test_with_an_invalid_inventory_the_last_valid_one_is_swept(hospital: Hospital) -> None:
    hospital.replace("north.yml", "port: 4242", "port: 0104")
    done = hospital.playbook("nightly-verify")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the inventory is invalid: this is the last valid one, of 20" in done.stdout
    assert "north.yml:" in done.stdout + done.stderr
    assert "14 associations: 14 answered" in done.stdout


def test_with_an_invalid_inventory_and_no_history_nobody_is_asked(hospital: Hospital) -> None:
    hospital.factory_new()
    hospital.replace("north.yml", "port: 4242", "port: 0104")
    with hospital.counting_connections() as connections:
        done = hospital.playbook("nightly-verify")
    assert done.returncode == 2
    assert connections == dict.fromkeys(connections, 0)


def test_a_dead_service_and_a_drifted_host_are_both_told(hospital: Hospital) -> None:
    hospital.lab["south-mwl-1"].systemctl("stop", "fleet-wlmscpfs-SOUTH_MWL")
    hospital.lab["north-pacs-2"].run(f"sed -i s/NORTH_CT01,/NORTH_CT99,/ {PACS_FILE}", check=True)
    done = hospital.playbook("nightly-verify")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "refused  SOUTH_MWL  10.30.0.12:11113" in done.stdout
    assert "-ae_NORTH_CT01/1 = (NORTH_CT99, 10.20.3.21, 1)" in done.stdout
    page = done.stdout.partition("not as desired in the last sweep:\n")[2]
    assert "SOUTH_MWL 10.30.0.12:11113 refused since" in page.splitlines()[0]
    said = hospital.fleet("history")
    assert said.returncode == 0
    assert "nightly-verify.yml" in said.stdout
