"""One sudo a connection: each script still has a process, an end and an answer of its own."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.errors import DeadlineExceeded, HostError
from fleet.push.ping import ping_host
from fleet.push.root_shell import Answer, find_end, wrap_script
from fleet.push.script import Script
from fleet.push.ssh.connector import SshConnector
from fleet.push.transport import CommandResult, Transport
from tests.push.local_host import LocalTransport
from tests.push.ssh_server import SSHD, run_sshd


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """How often sudo was asked; it lets everybody in."""
    (tmp_path / "bin").mkdir()
    sudo, asked = tmp_path / "bin/sudo", tmp_path / "asked"
    sudo.write_text(f'#!/bin/sh\necho "$*" >>{asked}\nshift 2\nexec "$@"\n')
    sudo.chmod(0o755)
    return asked


@pytest.fixture
def transport(tmp_path: Path, asked: Path) -> Iterator[Transport]:
    if SSHD is None:
        pytest.skip("sshd is not installed (tests/debian-packages.txt)")
    with run_sshd(tmp_path / "ssh", extra=f"SetEnv PATH={tmp_path}/bin:/usr/bin:/bin\n") as server:
        transport = SshConnector({}).open_(server.make_host(), deadline_s=5)
        yield transport
        transport.close()


def run(transport: Transport, text: str, **more: float) -> CommandResult:
    return transport.run_script(Script("test", f"{text}\nexit 0\n"), become=True, **{"deadline_s": 10, **more})  # type: ignore[arg-type]


def test_sudo_is_asked_once_for_all_scripts_of_a_connection(transport: Transport, asked: Path) -> None:
    for number in range(5):
        done = run(transport, f"echo out {number}\necho err {number} >&2\nexit {number}")
        assert done == CommandResult(number, f"out {number}\n".encode(), f"err {number}\n".encode())
    assert asked.read_text() == "-n -- /bin/sh -s\n"
    assert ping_host(transport, deadline_s=5, become=True) >= 0


def test_what_one_script_defines_or_leaves_behind_is_nothing_to_the_next(transport: Transport) -> None:
    run(transport, "left=over\ncd /tmp\nset -u\ntrap '' TERM\numask 077\nexec 2>/dev/null\nfunction_() { :; }")
    done = run(transport, "echo ${left-nothing} $(umask)\ncommand -v function_ || echo none\necho err >&2")
    assert done.stdout == b"nothing 0022\nnone\n"
    assert done.stderr == b"err\n"


def test_an_answer_without_a_last_newline_and_one_of_all_bytes_come_as_they_are(transport: Transport) -> None:
    assert run(transport, "printf abc").stdout == b"abc"
    assert run(transport, ":").stdout == b""
    everything = run(transport, 'i=1; while [ $i -lt 256 ]; do printf "\\\\$(printf %o $i)"; i=$((i + 1)); done')
    assert everything.stdout == bytes(range(1, 256))
    assert len(run(transport, "head -c 900000 /dev/zero").stdout) == 900_000


def test_a_script_that_kills_its_shell_leaves_the_next_one_its_own(transport: Transport, asked: Path) -> None:
    assert run(transport, "kill -9 $$").status == 137
    assert run(transport, "echo still here").stdout == b"still here\n"
    run(transport, "kill -9 $PPID")
    assert run(transport, "echo by another").stdout == b"by another\n"
    assert len(asked.read_text().splitlines()) == 2


def test_two_scripts_at_once_have_a_root_shell_each(transport: Transport, asked: Path) -> None:
    answers: list[bytes] = []
    slow = threading.Thread(target=lambda: answers.append(run(transport, "sleep 1; echo slow").stdout))
    slow.start()
    while not asked.exists():
        time.sleep(0.01)
    answers.append(run(transport, "echo quick").stdout)
    slow.join()
    assert answers == [b"quick\n", b"slow\n"]


def test_a_script_that_hangs_costs_its_deadline_and_the_connection(transport: Transport) -> None:  # T24
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        run(transport, "echo first; sleep 60", deadline_s=1)
    assert time.monotonic() - began < 3
    assert not transport.is_open


@pytest.mark.parametrize("stream", [1, 2])
def test_a_flood_through_the_root_shell_is_cut_at_its_limit(transport: Transport, stream: int) -> None:  # T24
    run(transport, ":")
    with pytest.raises(HostError, match="more than 1000000 bytes"):
        run(transport, f"while :; do echo flooding the one who asked; done >&{stream}")


def test_a_script_cut_off_on_its_way_to_the_root_shell_does_nothing(tmp_path: Path) -> None:  # T25
    made = tmp_path / "made"
    whole = wrap_script(f"f() {{\ntouch {made}\n}}\nf\nexit 0\n", "n0n")
    (tmp_path / "host").mkdir()
    host = LocalTransport(tmp_path / "host")
    for length in range(whole.index(b"\nf\n") + 1):
        host.run_text(whole[:length])
        assert not made.exists(), length
    host.run_text(whole)
    assert made.exists()


def test_a_wrapped_script_is_found_whole_and_never_in_half() -> None:
    one, two = wrap_script("echo one\nexit 0\n", "ab"), wrap_script("exit 0\n", "cd")
    assert [find_end(one[:length]) for length in range(len(one))] == [None] * len(one)
    assert (find_end(one), find_end(one + two), find_end(two + one)) == (len(one), len(one), len(two))
    assert find_end(b"echo by itself\nexit 0\n") is None


def test_an_end_that_is_not_ours_ends_nothing() -> None:
    answer = Answer(b"\nFLEET_ab ", 1000)
    assert not answer.take("stdout", b"said\nFLEET_cd 0\nmore")
    assert not answer.take("stdout", b"\nFLEET_")
    assert not answer.take("stdout", b"ab ")
    assert answer.take("stdout", b"0\n")
    assert (answer.stdout, answer.status) == (b"said\nFLEET_cd 0\nmore", 0)
