"""The first day with real sshd: keys to compare, what doctor sees, and the narrowest sudo rule that works."""

import subprocess

from tests.lab.hospital import PACS_FILE, Hospital


def test_trust_shows_the_fingerprint_that_the_host_itself_shows(hospital: Hospital) -> None:  # T20
    host = hospital.lab["south-store-1"]
    keys = hospital.folder.parent / "key.pub"
    keys.write_text(host.host_key + "\n", encoding="ascii")
    listed = subprocess.run(["ssh-keygen", "-lf", keys], capture_output=True, text=True, timeout=10, check=True)
    fingerprint = listed.stdout.split()[1]
    done = hospital.fleet("trust", "south-store-1")
    assert done.returncode == 0
    assert f"{fingerprint}  ssh-ed25519  pinned" in done.stdout
    hospital.replace("south.yml", host.host_key, hospital.lab["north-pacs-1"].host_key)
    done = hospital.fleet("trust", "south-store-1")
    assert done.returncode == 2
    assert f"{fingerprint}  ssh-ed25519  not pinned" in done.stdout
    assert f'  - "{host.host_key}"' in done.stdout


def test_a_host_with_another_key_gets_no_login_and_no_file(hospital: Hospital) -> None:  # T21
    host = hospital.lab["south-store-1"]
    wrong = hospital.lab["north-pacs-1"].host_key
    hospital.replace("south.yml", host.host_key, wrong)
    hospital.replace("south.yml", "/var/lib/dcmtk/SOUTH_STORE,", "/var/lib/dcmtk/SOUTH_STORE_2,")
    before = hospital.digests("south-store-1")
    accepted = host.run("journalctl -q --no-pager -u ssh | grep -c Accepted").stdout
    done = hospital.apply()
    assert done.returncode == 2
    assert "south-store-1" in done.stdout
    assert "key" in done.stdout
    assert hospital.digests("south-store-1") == before
    assert host.run("journalctl -q --no-pager -u ssh | grep -c Accepted").stdout == accepted


def test_doctor_logs_in_everywhere_and_names_where_it_cannot(hospital: Hospital) -> None:
    done = hospital.fleet("doctor")
    assert done.returncode == 0, done.stdout
    for name in hospital.hosts:
        assert f"ok  {name}" in done.stdout
    host = hospital.lab["south-mwl-1"]
    host.write_sudo_rule("fleet ALL=(root) NOPASSWD: /usr/bin/id")
    try:
        done = hospital.fleet("doctor")
    finally:
        host.write_sudo_rule("fleet ALL=(root) NOPASSWD: ALL")
    assert done.returncode == 2
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("BAD"))
    assert "south-mwl-1" in line
    assert "sudo" in line


def test_the_rule_that_doctor_prints_is_enough_for_a_whole_apply(hospital: Hospital) -> None:
    host = hospital.lab["north-pacs-2"]
    printed = hospital.fleet("doctor", "--sudoers", "north-pacs-2")
    assert printed.returncode == 0
    good = host.read_file(PACS_FILE)
    host.write_sudo_rule(printed.stdout)
    try:
        assert hospital.lab.controller.ssh(host, "sudo -n id").returncode != 0
        host.run("rm -rf /etc/fleet /etc/keepalived/keepalived.conf /var/lib/fleet", check=True)
        done = hospital.apply("--adopt", "-l", "north-pacs-2")
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        host.write_sudo_rule("fleet ALL=(root) NOPASSWD: ALL")
    assert host.read_file(PACS_FILE) == good
    assert hospital.fleet("verify", "--drift").returncode == 0
