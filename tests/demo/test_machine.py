"""A demo host: real scripts by a real shell over real SSH, in a folder; its systemd starts what was pushed."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.demo.chroot import keep_programs_inside
from fleet.demo.opening import OpenHospital
from fleet.demo.premises import Hospital, edit_title, make_hospital
from fleet.demo.units import Units
from fleet.errors import NetworkError
from fleet.inventory.model import Host, Inventory
from fleet.push.ping import ping_host
from fleet.push.script import Script, format_call_with, format_script
from fleet.push.ssh.connector import SshConnector
from fleet.workflow.context import Context
from fleet.workflow.reading import read_valid

DEADLINE_S = 10.0
ARCHIVE = """\
[Service]
ExecStart=/usr/bin/dcmqrscp -dhl -c /etc/fleet/pacs.cfg \\
  {port}
"""
TABLES = """\
NetworkTCPPort = 11112
HostTable BEGIN
one = (FLEET_SCU, 127.0.0.1, 1)
HostTable END
AETable BEGIN
MAIN_PACS /var/PACS RW (5, 10mb) one
AETable END
"""


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return make_hospital(tmp_path_factory.mktemp("demo") / "hospital")


@pytest.fixture(scope="module")
def inventory(hospital: Hospital) -> Inventory:
    return read_valid(Context(hospital.inventory, hospital.history)).inventory


@pytest.fixture(scope="module")
def opened(hospital: Hospital, inventory: Inventory) -> Iterator[OpenHospital]:
    with OpenHospital(hospital, inventory) as opened:
        yield opened


@pytest.fixture
def host(inventory: Inventory, opened: OpenHospital) -> Host:
    return inventory.hosts["pacs-1"]


def run(host: Host, text: str) -> tuple[int | None, bytes, bytes]:
    transport = SshConnector({}).open_(host, deadline_s=DEADLINE_S)
    try:
        done = transport.run_script(Script("test", text), deadline_s=DEADLINE_S)
    finally:
        transport.close()
    return done.status, done.stdout, done.stderr


def test_the_packaged_inventory_has_no_warning_but_of_what_dcmtk_cannot_do(hospital: Hospital) -> None:
    problems = read_valid(Context(hospital.inventory, hospital.history)).problems
    assert {problem.code for problem in problems} <= {"target-limitation"}


def test_a_script_runs_in_the_folder_of_its_host(host: Host, hospital: Hospital) -> None:
    status, said, complaints = run(host, 'echo "$FLEET_ROOT"; echo oh >&2; exit 3\n')
    assert (status, said.decode().strip(), complaints) == (3, str(hospital.root("pacs-1")), b"oh\n")


def test_a_host_answers_pings(host: Host) -> None:
    transport = SshConnector({}).open_(host, deadline_s=DEADLINE_S)
    assert ping_host(transport, deadline_s=DEADLINE_S) >= 0
    transport.close()


def test_another_key_is_not_let_in(host: Host, hospital: Hospital) -> None:
    from dataclasses import replace

    stranger = replace(host, ssh=replace(host.ssh, identity_file=str(hospital.host_key("ris-1"))))
    with pytest.raises(NetworkError, match="was not let in"):
        SshConnector({}).open_(stranger, deadline_s=DEADLINE_S)


def test_a_tunnel_starts_at_the_host_own_address(host: Host) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[str] = []

    def serve() -> None:
        stream, (address, _) = listener.accept()
        with stream:
            seen.append(address)
            stream.sendall(stream.recv(100).upper())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    transport = SshConnector({}).open_(host, deadline_s=DEADLINE_S)
    channel = transport.open_channel("127.0.0.1", listener.getsockname()[1], deadline_s=DEADLINE_S)
    channel.send(b"hello", deadline_s=DEADLINE_S)
    assert channel.receive(100, deadline_s=DEADLINE_S) == b"HELLO"
    assert channel.receive(100, deadline_s=DEADLINE_S) == b""
    transport.close()
    thread.join(DEADLINE_S)
    listener.close()
    assert seen == [host.address]


def test_a_tunnel_does_not_leave_loopback(host: Host) -> None:
    transport = SshConnector({}).open_(host, deadline_s=DEADLINE_S)
    with pytest.raises(NetworkError, match="forbids forwarding"):
        transport.open_channel("192.0.2.1", 104, deadline_s=DEADLINE_S)
    transport.close()


def test_systemd_starts_the_pushed_file_and_keeps_what_is_enabled(
    host: Host, hospital: Hospital, opened: OpenHospital
) -> None:
    root = hospital.root("pacs-1")
    (root / "etc/fleet").mkdir(exist_ok=True)
    (root / "etc/fleet/pacs.cfg").write_text(TABLES)
    unit = root / "etc/systemd/system/demo.service"
    port = socket.create_server(("127.0.20.11", 0))
    number = port.getsockname()[1]
    port.close()
    unit.write_text(ARCHIVE.format(port=number))
    systemctl = '"$FLEET_ROOT"/usr/bin/systemctl'
    status, said, _ = run(
        host,
        f"{systemctl} daemon-reload && {systemctl} enable demo.service && {systemctl} restart demo.service &&"
        f" {systemctl} show --property=LoadState demo.service\n",
    )
    assert status == 0
    assert {b"ActiveState=active", b"UnitFileState=enabled", b"NeedDaemonReload=no"} <= set(said.split(b"\n"))
    assert f":{number:04X} " in (root / "proc/net/tcp").read_text()
    socket.create_connection(("127.0.20.11", number), DEADLINE_S).close()
    unit.write_text(ARCHIVE.format(port=number) + "# newer\n")
    assert b"NeedDaemonReload=yes" in run(host, f"{systemctl} show demo.service\n")[1]
    assert run(host, f"{systemctl} disable --now demo.service\n")[0] == 0
    assert b"ActiveState=inactive" in run(host, f"{systemctl} show demo.service\n")[1]
    unit.unlink()


def test_systemd_tells_why_a_unit_does_not_start(host: Host, hospital: Hospital) -> None:
    unit = hospital.root("pacs-1") / "etc/systemd/system/broken.service"
    unit.write_text("[Service]\nExecStart=/usr/bin/dcmqrscp -c /etc/nowhere.cfg 1\n")
    status, said, _ = run(host, '"$FLEET_ROOT"/usr/bin/systemctl start broken.service\n')
    assert status == 1
    assert b"cannot read /etc/nowhere.cfg" in said
    assert b"ActiveState=failed" in run(host, '"$FLEET_ROOT"/usr/bin/systemctl show broken.service\n')[1]
    unit.unlink()
    assert run(host, '"$FLEET_ROOT"/usr/bin/systemctl start absent.service\n')[0] == 1


def test_after_opening_again_what_was_enabled_runs(tmp_path: Path) -> None:
    started: list[str] = []

    class Silent:
        port = 104
        associations_seen = 0

        def close(self) -> None:
            started.append("closed")

    def engine(_command: object) -> Silent:
        started.append("started")
        return Silent()

    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/demo.service").write_text("[Service]\nExecStart=-/usr/bin/it -c x\n")
    Units(tmp_path, "127.0.0.1", {"it": engine}).answer(["enable", "demo.service"])
    units = Units(tmp_path, "127.0.0.1", {"it": engine})
    units.start_enabled()
    units.close()
    assert started == ["started", "closed"]


def test_the_stub_of_dcmqrscp_stays_with_a_good_file_and_ends_with_a_bad_one(host: Host, hospital: Hospital) -> None:
    root = hospital.root("pacs-1")
    (root / "good.cfg").write_text(TABLES)
    (root / "bad.cfg").write_text("AETable BEGIN\nMAIN_PACS\nAETable END\n")
    stub = '"$FLEET_ROOT"/usr/bin/dcmqrscp'
    status, _, _ = run(host, f'timeout 1 {stub} -s -dhl -c "$FLEET_ROOT"/good.cfg 4242\n')
    assert status == 124  # timeout(1): it had to be ended
    status, said, _ = run(host, f'{stub} -s -dhl -c "$FLEET_ROOT"/bad.cfg 4242\n')
    assert (status, said.startswith(b"F: configuration line 2")) == (10, True)


def test_a_check_calls_the_programs_of_its_host(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/dcmqrscp").touch()
    check = 'timeout 1 /usr/bin/dcmqrscp -c "$1"; ${FLEET_ROOT-}/usr/bin/dcmqrscp; /usr/bin/other'
    call = format_call_with(check.encode(), "run_check", 0, "/etc", "x.cfg")
    script = keep_programs_inside(format_script("stage", [call]).encode(), tmp_path).decode()
    inside = 'timeout 1 "$FLEET_ROOT"/usr/bin/dcmqrscp -c "$1"; ${FLEET_ROOT-}/usr/bin/dcmqrscp; /usr/bin/other'
    assert format_call_with(inside.encode(), "run_check", 0, "/etc", "x.cfg") in script


def test_an_edit_changes_one_title(tmp_path: Path) -> None:
    hospital = make_hospital(tmp_path / "hospital")
    name, before, after = edit_title(hospital, "floor-2", "WS_1")
    assert name == "inventory/boxes.yml"
    assert before.count("WS_1") == 1
    assert after.count("WS_1") == 2
    assert edit_title(hospital, "floor-2", "WS_2")[2] == before
