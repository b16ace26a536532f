"""Hosts for the tests of this room: folders run by real shells, and real sshd processes."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.push.local_host import LocalTransport, make_root
from tests.push.ssh_server import SSHD, SshServer, run_sshd
from tests.push.userlands import enter_applets, make_applets

SHELLS: dict[str, Sequence[str]] = {"dash": ("/bin/sh",), "bash": ("bash", "--posix"), "busybox": ("busybox", "sh")}


@pytest.fixture(scope="session")
def applets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of busybox's applets."""
    if shutil.which("busybox") is None or os.geteuid() != 0:
        pytest.skip("a userland of busybox alone needs root, and busybox (tests/debian-packages.txt)")
    return make_applets(tmp_path_factory.mktemp("busybox") / "bin")


@pytest.fixture
def busybox_alone(applets: Path) -> Sequence[str]:
    """The command that gives another a userland of busybox alone."""
    return enter_applets(applets)


@pytest.fixture(params=[*SHELLS, "busybox-alone"])
def userland(request: pytest.FixtureRequest) -> tuple[Sequence[str], Sequence[str]]:
    """Every shell, and a host that has nothing but busybox: a wrapper and a shell."""
    if request.param == "busybox-alone":
        return enter_applets(request.getfixturevalue("applets")), ("/bin/sh",)
    command: Sequence[str] = SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (tests/debian-packages.txt)")
    return (), command


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's folder."""
    (tmp_path / "host").mkdir()
    return make_root(tmp_path / "host")


@pytest.fixture
def local(root: Path) -> LocalTransport:
    """A folder run by /bin/sh."""
    return LocalTransport(root)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SshServer, Path]]:
    """A real sshd whose sessions live in a folder."""
    if SSHD is None:
        pytest.skip("sshd is not installed (tests/debian-packages.txt)")
    (folder := tmp_path_factory.mktemp("sshd") / "host").mkdir()
    with run_sshd(folder.parent / "ssh", make_root(folder)) as server:
        yield server, folder


@pytest.fixture(scope="session")
def jump_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """Another one, with keys of its own."""
    if SSHD is None:
        pytest.skip("sshd is not installed (tests/debian-packages.txt)")
    with run_sshd(tmp_path_factory.mktemp("jump") / "ssh") as server:
        yield server
