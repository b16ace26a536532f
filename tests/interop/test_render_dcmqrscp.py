"""The real dcmqrscp reads what we render: exactly the callers that the inventory allows, whatever their titles."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from fleet.dicom.dimse import IMPLICIT_VR_LITTLE_ENDIAN_UID, VERIFICATION_UID
from fleet.dicom.items import ImplementationClassUID, MaximumLength, PresentationContextRQ, UserInformation
from fleet.dicom.pdu import AssociateRQ, ReleaseRQ
from fleet.inventory.model import Entity
from fleet.targets import dcmqrscp
from tests.render.building import archive_with_callers, build

pytestmark = pytest.mark.interop

CONTEXT = PresentationContextRQ(1, VERIFICATION_UID, (IMPLICIT_VR_LITTLE_ENDIAN_UID,))
INFORMATION = UserInformation((MaximumLength(16384), ImplementationClassUID("1.2.276.0.99.1")))


class ServerEndedError(Exception):
    """It did not take its configuration; the message is what it said."""


def free_port() -> int:
    """A port that nobody holds on any address."""
    with closing(socket.socket()) as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(config: str, folder: Path, port: int) -> Iterator[int]:
    """A dcmqrscp with this configuration, by its id; its whole group is ended afterwards."""
    path = folder / "dcmqrscp.cfg"
    area = folder / "area"
    area.mkdir()
    path.write_text(config.replace("/var/lib/dcmtk/ARCHIVE", str(area)), encoding="ascii")
    process = subprocess.Popen(
        [dcmqrscp.PROGRAM, "-dhl", "-ta", "5", "-c", str(path), str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for_port(port, process)
        yield process.pid
    finally:
        with suppress(ProcessLookupError):  # it ended by itself, over its configuration
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


def wait_for_port(port: int, process: "subprocess.Popen[str]") -> None:
    """Until it listens, read from the kernel's table: a connection would be an association that fails."""
    wanted = f":{port:04X} 00000000:0000 0A"
    for _ in range(200):
        if wanted in Path("/proc/net/tcp").read_text(encoding="ascii"):
            return
        if process.poll() is not None:
            raise ServerEndedError(process.communicate()[1])
        time.sleep(0.05)
    raise AssertionError("it does not listen")


def ask(source: str, calling: str, port: int, called: str = "ARCHIVE") -> bytes:
    """The head of what the server says to an association request from an address: 02 accepted, 03 rejected.

    Its children end a little after their associations; while too many are left it answers "congestion" (PS3.8
    table 9-21: source 3), which says nothing about the caller.
    """
    for _ in range(100):
        said = ask_once(source, calling, port, called)
        if not (said[:1] == b"\x03" and said[8:9] == b"\x03"):
            return said
        time.sleep(0.02)
    raise AssertionError("it stays congested")


def ask_once(source: str, calling: str, port: int, called: str) -> bytes:
    """One request."""
    request = AssociateRQ(called, calling, (CONTEXT,), INFORMATION).encode()
    with closing(socket.socket()) as connection:
        connection.settimeout(10)
        connection.bind((source, 0))
        connection.connect(("127.0.0.1", port))
        connection.sendall(request)
        said = connection.recv(10)
        if said[:1] == b"\x02":  # A-ABORT: the answer is all that is wanted
            connection.sendall(bytes.fromhex("07000000000400000000"))
    return said


def test_each_of_500_callers_is_accepted_and_a_hundred_others_are_rejected(tmp_path: Path) -> None:
    # T16: 500 peers need many rows and groups of groups; one that is lost in a cut line is rejected in silence.
    port = free_port()
    titles = {f"WORKSTATION_{number:04}": f"127.1.{number // 200}.{number % 200 + 1}" for number in range(500)}
    built = build(tmp_path / "inventory", archive_with_callers(titles, port))
    config = built.file("h1", "/etc/fleet/dcmqrscp-ARCHIVE.cfg").content
    assert max(len(line) for line in config.splitlines()) <= dcmqrscp.MAX_LINE_BYTES
    with running(config, tmp_path, port):
        accepted = [title for title, address in titles.items() if ask(address, title, port)[:1] == b"\x02"]
        assert accepted == list(titles)
        assert ask("127.0.0.1", "FLEET_SCU", port)[:1] == b"\x02"
        strangers = [(f"STRANGER_{number}", f"127.1.0.{number + 1}") for number in range(40)]
        elsewhere = [(f"WORKSTATION_{number:04}", f"127.9.0.{number + 1}") for number in range(40)]
        swapped = [(f"WORKSTATION_{number:04}", f"127.1.0.{number + 2}") for number in range(20)]
        answers = {ask(address, title, port)[:1] for title, address in (*strangers, *elsewhere, *swapped)}
        assert answers == {b"\x03"}
        assert ask("127.1.0.1", "WORKSTATION_0000", port, called="OTHER")[:1] == b"\x03"


# T02: what is legal in a title and stands in the way of formats; each must come back from the real reader.
CARRIED = [
    *("A", "a.b-c_d", "X{Y}", "A#B", "#HASH", "!BANG", "A$B", "100%", "A;B", "A|B", "A&B", "A`B", "A<B>", "~A", "@A"),
    *("A?B", "A*", "[A]", "A/B", "A:B", "A^B", "A+B", "16_CHARACTERS_XX", "GROUP", "DEFAULT", "END_", "any"),
]
REFUSED = ["A B", "A,B", "A=B", 'A"B', "A'B", "A(B", "A)B"]


def test_every_carried_title_is_accepted_and_no_variant_of_it(tmp_path: Path) -> None:
    # T02, T15
    port = free_port()
    titles = {title: f"127.2.0.{number + 1}" for number, title in enumerate(CARRIED)}
    built = build(tmp_path / "inventory", archive_with_callers(titles, port))
    assert [problem for problem in built.target_problems() if problem.severity == "error"] == []
    config = built.file("h1", "/etc/fleet/dcmqrscp-ARCHIVE.cfg").content
    with running(config, tmp_path, port):
        assert [title for title, address in titles.items() if ask(address, title, port)[:1] != b"\x02"] == []
        cut = {title[:-1] for title in CARRIED if len(title) > 1 and title[:-1] not in titles}
        assert {ask("127.2.0.1", title, port)[:1] for title in sorted(cut)} == {b"\x03"}


@pytest.mark.parametrize("title", REFUSED)
def test_a_title_that_the_reader_loses_is_refused_and_the_reader_really_loses_it(title: str, tmp_path: Path) -> None:
    # T02: the refusal is no superstition; written down anyway, the peer is rejected or the file is.
    assert dcmqrscp.explain_title(title) is not None
    port = free_port()
    built = build(tmp_path / "inventory", archive_with_callers({"PLACEHOLDER": "127.2.0.1"}, port))
    config = built.file("h1", "/etc/fleet/dcmqrscp-ARCHIVE.cfg").content
    forced = config.replace("(PLACEHOLDER,", f"({title},")
    assert forced != config
    if title in {"A B", "A,B", "A=B"}:  # it loads, and the peer is rejected
        with running(forced, tmp_path, port):
            assert ask("127.2.0.1", title, port)[:1] == b"\x03"
    else:  # it ends, or takes other words for the title
        with suppress(ServerEndedError), running(forced, tmp_path, port):
            assert ask("127.2.0.1", title, port)[:1] == b"\x03"


def test_a_title_called_any_opens_the_archive_to_nobody(tmp_path: Path) -> None:
    # T03: refused at validation; forced in, our prefixed names still keep strangers out.
    assert dcmqrscp.explain_title("ANY") is not None
    port = free_port()
    built = build(tmp_path / "inventory", archive_with_callers({"ANY": "127.2.0.1"}, port))
    assert any("'ANY'" in problem.message for problem in built.target_problems())
    config = built.file("h1", "/etc/fleet/dcmqrscp-ARCHIVE.cfg").content
    with running(config, tmp_path, port):
        assert ask("127.2.0.2", "STRANGER", port)[:1] == b"\x03"


def test_an_archive_that_nobody_may_call_accepts_nobody(tmp_path: Path) -> None:
    # T03: an empty list would be an error of the file, and ANY would admit everybody.
    port = free_port()
    text = archive_with_callers({}, port).replace(
        "probers:\n  - {ae_title: FLEET_SCU, addresses: [127.0.0.1]}\n", ""
    ).replace('from: "kind=workstation"', "from: 'kind=archive'")  # fmt: skip
    built = build(tmp_path / "inventory", text)
    config = built.file("h1", "/etc/fleet/dcmqrscp-ARCHIVE.cfg").content
    with running(config, tmp_path, port):
        for title in ("STRANGER", dcmqrscp.NOBODY[0], "ARCHIVE"):
            assert ask("127.0.0.1", title, port)[:1] == b"\x03"


def run_check(config: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Our check of a file, as it runs on a host."""
    scratch = folder / "scratch"
    scratch.mkdir()
    staged = folder / "staged.cfg"
    staged.write_text(config, encoding="ascii")
    return subprocess.run(
        ["/bin/sh", "-c", dcmqrscp.CHECK.script, "check", str(staged), str(scratch)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_file_s_check_tells_good_from_bad_and_touches_no_storage(tmp_path: Path) -> None:
    built = build(tmp_path / "inventory", archive_with_callers({"WS1": "127.2.0.1"}))
    config = built.file("h1", "/etc/fleet/dcmqrscp-ARCHIVE.cfg").content
    good = run_check(config, tmp_path)
    assert good.returncode == 0, good.stdout + good.stderr
    rewritten = (tmp_path / "scratch" / "check.cfg").read_text(encoding="ascii")
    assert "/var/lib/dcmtk/ARCHIVE" not in rewritten
    assert rewritten.replace(f"{tmp_path}/scratch/area", "/var/lib/dcmtk/ARCHIVE") == config
    other = tmp_path / "other"
    other.mkdir()
    bad = run_check(config.replace("HostTable END", ""), other)
    assert bad.returncode not in {0, 75}
    assert "bad config file" in bad.stdout


def test_a_c_move_destination_is_a_title_s_first_row(tmp_path: Path) -> None:
    # dcmqrscp looks for a destination in its AE's own peers first, and takes the first row of the title.
    text = archive_with_callers({"WS1": "127.2.0.1"}) + (
        "  - {from: WS2, to: ARCHIVE, services: [query-retrieve]}\n"
    )  # fmt: skip
    text = text.replace(
        "flows:",
        "  - {ae_title: WS2, kind: other, provides: [storage], instances: [{host: h1, port: 4242}]}\n"
        "virtual_services:\n"
        "  - {name: ws2, entity: WS2, addresses: [127.3.0.9], port: 104, via: external}\nflows:",
    )
    built = build(tmp_path / "inventory", text)
    entity: Entity = built.inventory.by_title["WS2"]
    assert built.peers.destinations_of(entity, "north") == (("127.3.0.9", 104),)
    lines = built.file("h1", "/etc/fleet/dcmqrscp-ARCHIVE.cfg").content.splitlines()
    rows = [line.partition(" = ")[2] for line in lines if "(WS2," in line]
    assert rows == ["(WS2, 127.3.0.9, 104)", "(WS2, 127.0.0.1, 104)"]


def test_a_stop_waits_for_open_associations_and_takes_no_new_ones(tmp_path: Path) -> None:
    port = free_port()
    built = build(tmp_path / "inventory", archive_with_callers({"WS1": "127.2.0.1"}, port))
    script = tmp_path / "drain"
    script.write_text(built.file("h1", "/etc/fleet/drain-associations").content, encoding="ascii")
    with running(built.file("h1", "/etc/fleet/dcmqrscp-ARCHIVE.cfg").content, tmp_path, port) as server:
        idle = subprocess.run(["dash", str(script), "5", str(server)], timeout=10, check=False)
        assert idle.returncode == 0
        os.kill(server, signal.SIGCONT)
        with closing(socket.socket()) as held:
            held.settimeout(5)
            held.bind(("127.2.0.1", 0))
            held.connect(("127.0.0.1", port))
            held.sendall(AssociateRQ("ARCHIVE", "WS1", (CONTEXT,), INFORMATION).encode())
            assert held.recv(4096)[:1] == b"\x02"
            draining = subprocess.Popen(["busybox", "sh", str(script), "20", str(server)])
            time.sleep(1.5)
            assert draining.poll() is None, "an association is open"
            with closing(socket.socket()) as late:
                late.settimeout(0.5)
                late.bind(("127.2.0.1", 0))
                late.connect(("127.0.0.1", port))
                late.sendall(AssociateRQ("ARCHIVE", "WS1", (CONTEXT,), INFORMATION).encode())
                with pytest.raises(TimeoutError):
                    late.recv(10)
            held.sendall(ReleaseRQ().encode())
            assert held.recv(10)[:1] == b"\x06"
        assert draining.wait(timeout=10) == 0
    assert subprocess.run(["dash", str(script), "5"], timeout=10, check=False).returncode == 0
