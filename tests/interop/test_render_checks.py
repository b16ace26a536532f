"""The health-check script tells the truth about peers that answer in every way, under several shells."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from fleet.dicom.dimse import IMPLICIT_VR_LITTLE_ENDIAN_UID, EchoRSP
from fleet.dicom.items import (
    ImplementationClassUID,
    ImplementationVersionName,
    MaximumLength,
    PresentationContextAC,
    UserInformation,
)
from fleet.dicom.pdu import Abort, AssociateAC, AssociateRJ, DataTF, PresentationDataValue, ReleaseRP
from tests.render.building import EXAMPLE, RECEIVER, build, quote_yaml, read_inventory

pytestmark = pytest.mark.interop

SHELLS = [["dash"], ["busybox", "sh"], ["bash", "--posix"]]
SERVICE = """\
virtual_services:
  - {name: pacs, entity: RECEIVER, addresses: [127.0.0.9/24], port: 104, via: external, check: CHECK,
     script: {path: /usr/local/bin/check-dicom, echoscu: /usr/bin/echoscu, where: h1}}
"""
CHECK = "{calling: LOADBALANCER, timeout: 2s}"

Answer = Callable[[socket.socket], None]


def read_pdu(connection: socket.socket) -> bytes:
    """One PDU, whole; empty at the end of the stream."""
    head = connection.recv(6, socket.MSG_WAITALL)
    return head + connection.recv(int.from_bytes(head[2:], "big"), socket.MSG_WAITALL) if len(head) == 6 else b""


def accept(connection: socket.socket, version: str = "TEST") -> None:
    """A-ASSOCIATE-AC for Verification."""
    read_pdu(connection)
    items = (MaximumLength(16384), ImplementationClassUID("1.2.276.0.99.1"), ImplementationVersionName(version))
    contexts = (PresentationContextAC(1, 0, IMPLICIT_VR_LITTLE_ENDIAN_UID),)
    connection.sendall(AssociateAC(contexts, UserInformation(items)).encode())


def respond(connection: socket.socket, status: int) -> None:
    """C-ECHO-RSP, and the release."""
    read_pdu(connection)
    value = PresentationDataValue(1, EchoRSP(1, status).encode(), is_command=True, is_last=True)
    connection.sendall(DataTF((value,)).encode())
    if read_pdu(connection):
        connection.sendall(ReleaseRP().encode())


def echo(status: int) -> Answer:
    """A peer that answers C-ECHO with a status."""

    def answer(connection: socket.socket) -> None:
        accept(connection)
        respond(connection, status)

    return answer


def abort(connection: socket.socket) -> None:
    accept(connection)
    read_pdu(connection)
    connection.sendall(Abort(0, 0).encode())


def reject(connection: socket.socket) -> None:
    read_pdu(connection)
    connection.sendall(AssociateRJ(1, 1, 7).encode())


def close(connection: socket.socket) -> None:
    read_pdu(connection)


def be_silent(connection: socket.socket) -> None:
    connection.settimeout(8)
    while connection.recv(4096):
        pass


def drip(connection: socket.socket) -> None:
    """A byte now and then outlasts every timeout that counts silence."""
    read_pdu(connection)
    connection.sendall(b"\x02")
    connection.settimeout(0.4)
    for _ in range(20):
        connection.sendall(b"\x00")
        try:
            if not connection.recv(1):
                return
        except TimeoutError:
            continue


def speak_http(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nI: Received Echo Response (Success)\r\n")


def forge(connection: socket.socket) -> None:
    """A peer that names itself as echoscu's success, and then aborts."""
    accept(connection, "\nI: Received Ech")
    read_pdu(connection)
    connection.sendall(Abort(2, 0).encode())


@contextmanager
def serving(answer: Answer, address: str = "127.0.0.1") -> Iterator[int]:
    """A peer for one association after the other."""
    with closing(socket.create_server((address, 0))) as server:
        server.settimeout(0.2)
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with closing(connection):
                    try:
                        connection.settimeout(10)
                        answer(connection)
                    except OSError:
                        continue  # the asker has gone

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stop.set()
            thread.join(timeout=20)


def write_script(folder: Path, check: str = CHECK) -> Path:
    """The rendered script of a virtual service."""
    built = build(folder / "inventory", RECEIVER + SERVICE.replace("CHECK", check))
    path = folder / "check-dicom"
    path.write_text(built.file("h1", "/usr/local/bin/check-dicom").content, encoding="ascii")
    return path


def run(script: Path, *words: str, shell: list[str] | None = None) -> "subprocess.CompletedProcess[str]":
    """The script as a load balancer calls it."""
    command = [*(shell or ["dash"]), str(script), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (echo(0x0000), 0), (echo(0x0122), 1), (echo(0x0110), 1), (echo(0x0210), 1), (abort, 1), (reject, 1), (close, 1),
        (speak_http, 1), (forge, 1),
    ],
    ids=["success", "0122", "0110", "0210", "abort", "reject", "close", "http", "forge"],
)  # fmt: skip
def test_only_status_0000_counts_as_up(answer: Answer, status: int, shell: list[str], tmp_path: Path) -> None:
    script = write_script(tmp_path)
    with serving(answer) as port:
        done = run(script, "127.0.0.9", "104", "127.0.0.1", str(port), shell=shell)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.parametrize("answer", [be_silent, drip])
def test_a_peer_that_never_ends_is_down_within_the_deadline(answer: Answer, tmp_path: Path) -> None:
    script = write_script(tmp_path)
    with serving(answer) as port:
        done = subprocess.run(
            ["timeout", "6", "dash", str(script), "127.0.0.9", "104", "127.0.0.1", str(port)], timeout=20, check=False
        )
    assert done.returncode == 1


def test_echoscu_s_own_exit_status_would_have_lied(tmp_path: Path) -> None:
    # dicom.md section 1.1: if this ever fails, the script may become simpler.
    for answer in (echo(0x0122), abort):
        with serving(answer) as port:
            done = subprocess.run(
                ["/usr/bin/echoscu", "-ta", "2", "-td", "2", "127.0.0.1", str(port)],
                timeout=20, check=False, capture_output=True,
            )  # fmt: skip
        assert done.returncode == 0


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_a_real_port_of_0_or_none_means_the_virtual_one(shell: list[str], tmp_path: Path) -> None:
    script = write_script(tmp_path)
    with serving(echo(0)) as port:
        for words in (("127.0.0.9", str(port), "127.0.0.1", "0"), ("127.0.0.9", str(port), "127.0.0.1")):
            assert run(script, *words, shell=shell).returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        (), ("127.0.0.9",), ("127.0.0.9", "104"), ("127.0.0.9", "104", "127.0.0.1", "104", "5"),
        ("127.0.0.9", "x", "127.0.0.1"), ("127.0.0.9", "104", "-v", "104"), ("127.0.0.9", "104", "@/etc/passwd", "104"),
        ("127.0.0.9", "104", "$(touch x)", "104"), ("127.0.0.9", "104", "127.0.0.1", "99999"),
        ("127.0.0.9", "0", "127.0.0.1", "0"), ("127.0.0.9", "104", "", "104"), ("127.0.0.9", "104", "a b", "104"),
        ("127.0.0.9", "104", "127.0.0.1", "1;id"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_neither_up_nor_down(words: tuple[str, ...], tmp_path: Path) -> None:
    script = write_script(tmp_path)
    for shell in SHELLS:
        done = run(script, *words, shell=shell)
        assert (done.returncode, done.stdout) == (64, "")


HARD = ["A$B", "$(id)", "`id`", "A'B", 'A"B', "A B", "-v", "A;B", "!A", "#A", "A&B", "%s", "~", "*", "A,B=(C)", "{}"]


@pytest.mark.parametrize("title", HARD)
def test_hard_titles_arrive_in_the_association_as_typed(title: str, tmp_path: Path) -> None:
    # T02, T15
    script = write_script(tmp_path, f"{{calling: {quote_yaml(title)}, timeout: 2s}}")
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(read_pdu(connection))
        connection.sendall(AssociateRJ(1, 1, 7).encode())

    with serving(listen) as port:
        for shell in SHELLS:
            run(script, "127.0.0.9", "104", "127.0.0.1", str(port), shell=shell)
    assert [request[26:42] for request in heard] == [title.encode().ljust(16)] * len(SHELLS)
    assert {request[10:26] for request in heard} == {b"RECEIVER        "}


def test_a_title_that_dcmtk_would_read_as_a_file_is_refused(tmp_path: Path) -> None:
    # T02: "@x" on dcmtk's command line is a file of further words.
    built = build(tmp_path, RECEIVER + SERVICE.replace("CHECK", '{calling: "@x"}'))
    assert any("'@x'" in problem.message and "echoscu" in problem.message for problem in built.target_problems())


def test_scripts_pass_every_shell_s_own_check(tmp_path: Path) -> None:
    rendered = read_inventory(EXAMPLE).render()
    scripts = [file for host in rendered.values() for file in host.files if file.content.startswith("#!/bin/sh")]
    assert len(scripts) >= 3
    for file in scripts:
        path = tmp_path / "script"
        path.write_text(file.content, encoding="ascii")
        for shell in SHELLS:
            assert shutil.which(shell[0]), f"{shell[0]} is not installed"
            subprocess.run([*shell, "-n", str(path)], check=True, timeout=10)


def test_the_listening_check_sees_listeners_and_connects_to_none(tmp_path: Path) -> None:
    rendered = read_inventory(EXAMPLE).render()
    content = next(
        file.content for host in rendered.values() for file in host.files if file.path.endswith("/check-listens")
    )
    script = tmp_path / "check-listens"
    script.write_text(content, encoding="ascii")
    connected: list[socket.socket] = []
    with serving(connected.append, "127.0.104.7") as port:
        for shell in SHELLS:
            assert run(script, "127.0.104.7", str(port), shell=shell).returncode == 0
            assert run(script, "127.0.104.8", str(port), shell=shell).returncode == 1
    assert connected == []
    assert run(script, "127.0.104.7", str(port)).returncode == 1
    assert run(script, "127.0.104", "104").returncode == 64
