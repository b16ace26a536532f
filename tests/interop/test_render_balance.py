"""The real HAProxy and keepalived read what we render, and HAProxy knows a DICOM server from anything else."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.dicom.pdu import AssociateRQ
from fleet.render.artifacts import RenderedFile
from fleet.targets import haproxy, keepalived
from tests.interop.test_render_checks import Answer, be_silent, echo, reject, serving, speak_http
from tests.interop.test_render_dcmqrscp import CONTEXT, INFORMATION, free_port, running
from tests.render.building import EXAMPLE, Built, build, quote_yaml, read_inventory

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="HAProxy's transparent bind and network namespaces need root"),
]

VIRTUAL, FIRST, SECOND = "127.5.0.100", "127.5.0.1", "127.5.0.2"


def inventory_text(ports: tuple[int, int], callers: int, via: str = "haproxy") -> str:
    """Two members on loopback behind one virtual address."""
    workstations = "".join(
        f"  - {{ae_title: WS_{number:04}, kind: workstation, address: 127.6.{number // 200}.{number % 200 + 1}, "
        "port: 104, provides: [verification, storage]}\n"
        for number in range(callers)
    )
    return f"""\
fleet: {{name: test}}
site: north
hosts:
  h1: {{address: {FIRST}}}
  h2: {{address: {SECOND}}}
probers: [{{ae_title: FLEET_SCU, addresses: [127.5.0.50]}}]
entities:
  - ae_title: ARCHIVE
    kind: archive
    provides: [verification, storage, query-retrieve]
    instances: [{{host: h1, port: {ports[0]}}}, {{host: h2, port: {ports[1]}}}]
    run: {{engine: dcmqrscp, storage_area: /var/lib/dcmtk/ARCHIVE, access: RW, max_studies: 100,
          max_bytes_per_study: 512mb, deletes_oldest: accepted, max_associations: 200}}
{workstations}flows: [{{from: "kind=workstation", to: ARCHIVE, services: [query-retrieve]}}]
virtual_services:
  - name: pacs
    entity: ARCHIVE
    addresses: [{VIRTUAL}/24]
    port: 10104
    via: {via}
    vrrp: {{interface: eth0, virtual_router_id: 51, priority: {{h1: 110, h2: 100}}}}
    check: {{calling: LOADBALANCER, interval: 200ms, timeout: 1s, fall: 2, rise: 1}}
"""


@dataclass
class Proxy:
    """A running HAProxy, and its view of its servers."""

    socket_path: Path

    def states(self) -> dict[str, tuple[str, str]]:
        """Status and last check of each server."""
        with closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.settimeout(5)
            connection.connect(str(self.socket_path))
            connection.sendall(b"show stat\n")
            said = b""
            while chunk := connection.recv(65536):
                said += chunk
        columns, *lines = said.decode().strip().splitlines()
        names = columns.removeprefix("# ").split(",")
        rows = [dict(zip(names, line.split(","), strict=False)) for line in lines]
        return {
            row["svname"]: (row["status"], row["check_status"])
            for row in rows
            if row["svname"] not in {"FRONTEND", "BACKEND"}
        }

    def wait_for(self, name: str, status: str, check: str = "") -> None:
        """Until a server is as said."""
        for _ in range(200):
            seen = self.states().get(name, ("", ""))
            if seen[0].startswith(status) and check in seen[1]:
                return
            time.sleep(0.05)
        raise AssertionError((name, status, check, self.states()))


@contextmanager
def proxying(config: str) -> Iterator[Proxy]:
    """HAProxy as a plain process, with a socket of the test's beside the rendered file."""
    folder = Path(tempfile.mkdtemp(prefix="fleet-haproxy-"))
    (folder / "haproxy.cfg").write_text(config, encoding="ascii")
    (folder / "test.cfg").write_text(f"global\n  stats socket {folder}/stats mode 600 level admin\n", encoding="ascii")
    command = [haproxy.PROGRAM, "-db", "-f", str(folder / "haproxy.cfg"), "-f", str(folder / "test.cfg")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        for _ in range(100):
            if (folder / "stats").exists():
                break
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        yield Proxy(folder / "stats")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)
        shutil.rmtree(folder)


def ask_virtual(source: str, calling: str) -> bytes:
    """The head of the answer that a caller gets at the virtual address; empty where it is closed."""
    for _ in range(200):
        with closing(socket.socket()) as connection:
            connection.settimeout(10)
            connection.bind((source, 0))
            try:
                connection.connect((VIRTUAL, 10104))
                connection.sendall(AssociateRQ("ARCHIVE", calling, (CONTEXT,), INFORMATION).encode())
                said = connection.recv(10)
            except ConnectionResetError:
                said = b""
            if said[:1] == b"\x02":
                connection.sendall(bytes.fromhex("07000000000400000000"))
        if not (said[:1] == b"\x03" and said[8:9] == b"\x03"):
            return said
        time.sleep(0.02)
    raise AssertionError("it stays congested")


def archive_config(built: Built, host: str) -> str:
    return built.file(host, "/etc/fleet/dcmqrscp-ARCHIVE.cfg").content


def test_every_caller_gets_through_the_virtual_address_and_no_other_does(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    built = build(tmp_path / "inventory", inventory_text(ports, 500))
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    config = built.file("h1", haproxy.PATH).content
    with (
        running(archive_config(built, "h1"), tmp_path / "one", ports[0]),
        running(archive_config(built, "h2"), tmp_path / "two", ports[1]),
        proxying(config) as proxy,
    ):
        proxy.wait_for("h1", "UP", "L7OK")
        proxy.wait_for("h2", "UP", "L7OK")
        answers = {
            number: ask_virtual(f"127.6.{number // 200}.{number % 200 + 1}", f"WS_{number:04}")[:1]
            for number in range(500)
        }
        assert {number for number, said in answers.items() if said != b"\x02"} == set()
        assert ask_virtual("127.5.0.50", "FLEET_SCU")[:1] == b"\x02"
        # A listed title from an address that is nobody's: the servers' extra rows would let it in.
        elsewhere = {ask_virtual(f"127.7.0.{number + 1}", f"WS_{number:04}")[:1] for number in range(50)}
        assert elsewhere == {b""}
        # A listed title from another listed caller's address: only HAProxy still knows where it comes from.
        swapped = {ask_virtual(f"127.6.0.{number + 2}", f"WS_{number:04}")[:1] for number in range(50)}
        assert swapped == {b""}
        assert ask_virtual("127.6.0.1", "LOADBALANCER")[:1] == b""
        strangers = {ask_virtual(f"127.6.0.{number + 1}", f"STRANGER_{number}")[:1] for number in range(50)}
        assert strangers == {b""}


def receiver_text(ports: tuple[int, int], title: str) -> str:
    """The same with storescp, which carries every title, and one workstation of this title."""
    text = inventory_text(ports, 0).replace("engine: dcmqrscp", "engine: storescp")
    start, end = text.index(", access: RW"), text.index("max_associations: 200") + len("max_associations: 200")
    row = f"  - {{ae_title: {quote_yaml(title)}, name: ws, kind: workstation, address: 127.6.0.1, port: 104}}\n"
    return (text[:start] + text[end:]).replace("flows:", f"{row}flows:")


@pytest.mark.parametrize("title", ["A", "16_CHARACTERS_XX", "A B", 'A"B', "A#", "{}", "A%n", "A,B"])
def test_a_caller_s_title_is_known_however_it_is_padded(title: str, tmp_path: Path) -> None:
    # T02
    with serving(reject, FIRST) as port:
        built = build(tmp_path / "inventory", receiver_text((port, free_port()), title))
        config = built.file("h1", haproxy.PATH).content
        unchecked = "".join(line for line in config.splitlines(keepends=True) if " check " not in line)
        with proxying(unchecked):
            for padding in (b" ", b"\x00"):
                field = title.encode() + padding * (16 - len(title))
                assert send_virtual("127.6.0.1", field)[:1] == b"\x03"
            longer = f"{title}X"
            assert len(longer) > 16 or send_virtual("127.6.0.1", longer.ljust(16).encode()) == b""
            assert send_virtual("127.6.0.1", b"OTHER           ") == b""
            assert send_virtual("127.6.0.2", title.ljust(16).encode()) == b""


def send_virtual(source: str, calling: bytes) -> bytes:
    """The answer at the virtual address to a request with this very field of the calling title."""
    request = AssociateRQ("ARCHIVE", "X", (CONTEXT,), INFORMATION).encode()
    with closing(socket.socket()) as connection:
        connection.settimeout(10)
        connection.bind((source, 0))
        try:
            connection.connect((VIRTUAL, 10104))
            for piece in (request[:20], request[20:26] + calling + request[42:]):  # a title may come in pieces
                connection.sendall(piece)
                time.sleep(0.02)
            return connection.recv(10)
        except OSError:
            return b""


def test_with_one_server_dead_the_address_answers_through_its_partner(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    built = build(tmp_path / "inventory", inventory_text(ports, 2))
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with running(archive_config(built, "h2"), tmp_path / "two", ports[1]):
        with (
            running(archive_config(built, "h1"), tmp_path / "one", ports[0]),
            proxying(built.file("h1", haproxy.PATH).content) as proxy,
        ):
            proxy.wait_for("h1", "UP", "L7OK")
            proxy.wait_for("h2", "UP", "L7OK")
            assert ask_virtual("127.6.0.1", "WS_0000")[:1] == b"\x02"
        with proxying(built.file("h1", haproxy.PATH).content) as proxy:
            proxy.wait_for("h1", "DOWN")
            proxy.wait_for("h2", "UP", "L7OK")
            assert ask_virtual("127.6.0.1", "WS_0000")[:1] == b"\x02"
            # What keepalived asks on this host: the local listener answers through the partner too.
            local = built.file("h1", keepalived.PATH).content
            assert "127.0.104.1 10104" in local
            script = tmp_path / "check"
            script.write_text(built.file("h1", "/etc/fleet/check-pacs").content, encoding="ascii")
            words = [VIRTUAL, "10104", "127.0.104.1", "10104"]
            assert subprocess.run(["dash", str(script), *words], check=False, timeout=20).returncode == 0
    script = tmp_path / "check"
    assert subprocess.run(["dash", str(script), *words], check=False, timeout=20).returncode == 1


@pytest.mark.parametrize(
    ("answer", "up"),
    [
        (echo(0x0000), True), (echo(0x0122), False), (echo(0x0110), False), (reject, False), (speak_http, False),
        (be_silent, False),
    ],
    ids=["success", "0122", "0110", "reject", "web", "silent"],
)  # fmt: skip
def test_the_native_check_is_up_for_a_successful_echo_only(answer: Answer, up: bool, tmp_path: Path) -> None:
    with serving(answer, FIRST) as port:
        built = build(tmp_path / "inventory", inventory_text((port, free_port()), 1))
        with proxying(built.file("h1", haproxy.PATH).content) as proxy:
            if up:
                proxy.wait_for("h1", "UP", "L7OK")
            else:
                proxy.wait_for("h1", "DOWN", "L7")
            proxy.wait_for("h2", "DOWN", "L4")


def run_check(file: RenderedFile, folder: Path, *, apart: str = "") -> "subprocess.CompletedProcess[str]":
    """A file's own check as it runs on a host; `apart` sets up a network of its own first."""
    assert file.check is not None
    scratch = Path(tempfile.mkdtemp(dir=folder))
    staged = scratch / "staged"
    staged.write_text(file.content, encoding="utf-8")
    command = ["/bin/sh", "-c", file.check.script, "check", str(staged), str(scratch)]
    if apart:
        command = ["unshare", "-n", "/bin/sh", "-c", f'{apart}\nexec "$@"', "apart", *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


ETH0 = "ip link set lo up; ip link add eth0 type veth peer name other; ip link set eth0 up; ip link set other up"


@pytest.mark.parametrize("via", ["haproxy", "keepalived"])
def test_keepalived_and_haproxy_take_their_files(via: str, tmp_path: Path) -> None:
    built = build(tmp_path / "inventory", inventory_text((11112, 11112), 300, via))
    for host in ("h1", "h2"):
        file = built.file(host, keepalived.PATH)
        done = run_check(file, tmp_path, apart=ETH0)
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    if via == "haproxy":
        done = run_check(built.file("h1", haproxy.PATH), tmp_path)
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    else:
        assert "MISC_CHECK" in built.file("h1", keepalived.PATH).content


def test_keepalived_s_check_says_which_line_and_never_shows_another_file(tmp_path: Path) -> None:
    # T15, faults.md 1.3: keepalived -t prints the lines of an included file.
    built = build(tmp_path / "inventory", inventory_text((11112, 11112), 1))
    file = built.file("h1", keepalived.PATH)
    secret = tmp_path / "secret"
    secret.write_text("hunter2 is the word\n", encoding="ascii")

    def checked(content: str) -> "subprocess.CompletedProcess[str]":
        changed = RenderedFile("h1", file.path, content, check=file.check)
        return run_check(changed, tmp_path, apart=ETH0)

    broken = checked(file.content.replace("  priority 110", "  prioritee 110"))
    assert broken.returncode not in {0, 75}
    assert "keepalived refuses line 3" in broken.stdout
    nosy = checked(file.content + f"include {secret}\n")
    assert nosy.returncode not in {0, 75}
    assert "hunter2" not in nosy.stdout + nosy.stderr
    absent = run_check(file, tmp_path, apart="ip link set lo up")
    assert absent.returncode not in {0, 75}
    assert "eth0 is not on this host" in absent.stdout


def test_an_inconclusive_keepalived_is_neither_good_nor_bad(tmp_path: Path) -> None:
    # faults.md 1.1, T34: a death by a signal says nothing about the file.
    built = build(tmp_path / "inventory", inventory_text((11112, 11112), 1))
    file = built.file("h1", keepalived.PATH)
    assert file.check is not None
    fake = tmp_path / "keepalived"
    fake.write_text("#!/bin/sh\nkill -TERM $$\n", encoding="ascii")
    fake.chmod(0o755)
    for status, script in ((75, "kill -TERM $$"), (75, "exit 139"), (5, "exit 5"), (0, "exit 0")):
        fake.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
        changed = file.check.script.replace(keepalived.PROGRAM, str(fake))
        scratch = Path(tempfile.mkdtemp(dir=tmp_path))
        staged = scratch / "staged"
        staged.write_text(file.content, encoding="ascii")
        done = subprocess.run(
            ["/bin/sh", "-c", changed, "check", str(staged), str(scratch)],
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == status


def test_haproxy_s_check_refuses_a_bad_file(tmp_path: Path) -> None:
    built = build(tmp_path / "inventory", inventory_text((11112, 11112), 1))
    file = built.file("h1", haproxy.PATH)
    bad = RenderedFile("h1", file.path, file.content.replace("default_backend", "default_backing"), check=file.check)
    done = run_check(bad, tmp_path)
    assert done.returncode not in {0, 75}
    assert "haproxy.cfg" in done.stdout


def test_hard_titles_reach_neither_keepalived_nor_break_haproxy(tmp_path: Path) -> None:
    # T02, T15: the check's title goes into bytes and into a script, never into keepalived.conf.
    for number, title in enumerate(("X{} ; }", 'A" ; include', "$VAR", "~SEQ", "!A # B", "%s")):
        text = receiver_text((11112, 11112), "WS_0000").replace("LOADBALANCER", quote_yaml(title))
        built = build(tmp_path / f"inventory{number}", text)
        keepalived_file, haproxy_file = built.file("h1", keepalived.PATH), built.file("h1", haproxy.PATH)
        assert title not in keepalived_file.content
        assert title not in haproxy_file.content
        assert title.ljust(16).encode().hex() in haproxy_file.content
        assert run_check(keepalived_file, tmp_path, apart=ETH0).returncode == 0
        assert run_check(haproxy_file, tmp_path).returncode == 0


def test_the_example_s_units_are_understood_by_systemd(tmp_path: Path) -> None:
    units = [
        file
        for host in read_inventory(EXAMPLE).render().values()
        for file in host.files
        if file.path.endswith(".service")
    ]
    assert len(units) >= 4
    for file in units:
        path = tmp_path / file.path.rpartition("/")[2]
        path.write_text(file.content, encoding="ascii")
        done = subprocess.run(
            ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), file.path
