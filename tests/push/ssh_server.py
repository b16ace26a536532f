"""A real sshd (OpenSSH) on a loopback port, a plain process with a configuration of its own."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleet.inventory.model import Host, SshSettings

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


@dataclass(frozen=True)
class SshServer:
    """Where it listens, and what its client and host keys are."""

    port: int
    folder: Path
    pid: int

    @property
    def identity_file(self) -> Path:
        return self.folder / "id_ed25519"

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "host_ed25519.pub").read_text().split()[:2])

    @property
    def ecdsa_key(self) -> str:
        return " ".join((self.folder / "host_ecdsa.pub").read_text().split()[:2])

    def make_host(
        self, name: str = "north-1", host_keys: tuple[str, ...] | None = None, jump: str | None = None
    ) -> Host:
        """An inventory's host that is this server."""
        ssh = SshSettings(getpass.getuser(), self.port, jump, str(self.identity_file), "none")
        return Host(name, "127.0.0.1", "north", ssh, (self.host_key,) if host_keys is None else host_keys)


def find_free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_key(path: Path, kind: str = "ed25519") -> None:
    """A fresh key pair without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", str(path)], check=True, timeout=30)


@contextmanager
def run_sshd(folder: Path, root: Path | None = None, extra: str = "") -> Iterator[SshServer]:
    """Serves until the block ends; sessions see `root` as FLEET_ROOT."""
    assert SSHD is not None
    folder.mkdir(parents=True, exist_ok=True)
    make_key(folder / "host_ed25519")
    make_key(folder / "host_ecdsa", "ecdsa")
    make_key(folder / "id_ed25519")
    shutil.copy(folder / "id_ed25519.pub", folder / "authorized_keys")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its privilege separation wants it
    port = find_free_port()
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_ed25519\nHostKey {folder}/host_ecdsa\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPidFile none\nUsePAM no\nStrictModes no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        f"AllowTcpForwarding yes\nMaxStartups 100\nLogLevel ERROR\n{extra}"
        # No person's own shell start-up files in between. sshd takes one SetEnv line only.
        + (f"SetEnv HOME={folder} FLEET_ROOT={root}\n" if root else f"SetEnv HOME={folder}\n")
    )
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stdout=log, stderr=log)
    try:
        _wait_for_port(port, server)
        yield SshServer(port, folder, server.pid)
    finally:
        server.terminate()
        server.wait(timeout=10)


def _wait_for_port(port: int, server: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("sshd did not start")
