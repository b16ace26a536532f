"""Hosts for the tests of this room: folders run by real shells, and real sshd processes."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.push.local_host import LocalTransport, make_root
from tests.push.ssh_server import SSHD, SshServer, run_sshd

SHELLS: dict[str, Sequence[str]] = {"dash": ("/bin/sh",), "bash": ("bash", "--posix"), "busybox": ("busybox", "sh")}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> Sequence[str]:
    """Every shell that a host's /bin/sh may be."""
    command: Sequence[str] = SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (tests/debian-packages.txt)")
    return command


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
