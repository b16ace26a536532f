"""Where fleet runs in the lab: one more namespace on the switch, with a home folder of its own.

Everything that a test sends to a host starts here and never in the machine's own network.
"""

import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from tests.lab.hosts import CLEAN_ENVIRONMENT, LabHost
from tests.lab.network import NetworkNamespace
from tests.lab.root_folder import LOGIN_USER

CONTROLLER_ADDRESS = "10.0.0.5"
REPOSITORY = Path(__file__).resolve().parents[2]


class Controller:
    """Where fleet runs: an address in the hospital's network, a home folder, and no host's insides."""

    def __init__(self, namespace: NetworkNamespace, home: Path, identity_file: Path) -> None:
        self.address = CONTROLLER_ADDRESS
        self.namespace = namespace
        self.home = home
        self._identity_file = identity_file

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the caller's home can leak in: no known hosts, no history, no colours."""
        return {
            "PATH": f"{Path(sys.executable).parent}:{CLEAN_ENVIRONMENT['PATH']}",
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "PYTHONPATH": str(REPOSITORY),
            "LC_ALL": "C.UTF-8",
        }

    def run(
        self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        whole = self.environment | dict(environment or {})
        return self.namespace.run(command, environment=whole, timeout_s=timeout_s)

    def python(
        self, *arguments: str, environment: Mapping[str, str] | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """This interpreter: `python("-m", "fleet.cli.main", "validate")`."""
        return self.run([sys.executable, *arguments], environment=environment, timeout_s=timeout_s)

    def start(self, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """For what a test wants to interrupt or to talk to; the lab ends it at the latest."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace.name, *command],
            env=self.environment | dict(environment or {}), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ssh(
        self, host: LabHost, command: str, *, host_key: str | None = None, timeout_s: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """OpenSSH's own client, with the host's key pinned and no other file consulted."""
        known_hosts = self.home / f"known-hosts-{host.name}"
        known_hosts.write_text(f"{host.address} {host_key or host.host_key}\n", encoding="ascii")
        options = {
            "IdentityFile": self._identity_file, "IdentitiesOnly": "yes", "BatchMode": "yes",
            "UserKnownHostsFile": known_hosts, "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes", "ConnectTimeout": 5,
        }  # fmt: skip
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        destination = f"{LOGIN_USER}@{host.address}"
        return self.run(["ssh", "-F", "none", *words, destination, command], timeout_s=timeout_s)

    def read_banner(self, address: str, port: int = 22, timeout_s: float = 1) -> bytes:
        """What a server says first; empty when it refuses or stays silent."""
        try:
            with (
                self.namespace.entered(),
                socket.create_connection((address, port), timeout=timeout_s) as connection,
            ):
                return connection.recv(64)
        except OSError:
            return b""

    def request(self, method: str, url: str, body: str | None = None, timeout_s: float = 10) -> tuple[int, str]:
        """One HTTP exchange, for the pages by which HAProxy and Orthanc tell how they are."""
        place = urlsplit(url)
        with self.namespace.entered():
            connection = HTTPConnection(place.hostname or "", place.port, timeout=timeout_s)
            try:
                connection.request(method, f"{place.path}?{place.query}" if place.query else place.path, body)
                answer = connection.getresponse()
                return answer.status, answer.read().decode("utf-8", "replace")
            finally:
                connection.close()

    def echo(self, calling: str, called: str, address: str, port: int) -> subprocess.CompletedProcess[str]:
        """dcmtk's echoscu; its status is 0 for failures too, so ask `is_echo_answered`."""
        limits = ["-to", "3", "-ts", "5", "-ta", "5", "-td", "5"]
        command = ["/usr/bin/echoscu", "-v", *limits, "-aet", calling, "-aec", called, address, str(port)]
        return self.run(command, timeout_s=30)


def is_echo_answered(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode == 0 and "Received Echo Response (Success)" in done.stdout + done.stderr
