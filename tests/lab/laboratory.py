"""The lab: hosts, a switch, and the controller from which fleet runs.

    with Lab({"north-pacs-1": "10.20.0.11"}) as lab:
        lab.controller.ssh(lab["north-pacs-1"], "uname -a")

Addresses are the example hospital's own, on one flat 10.0.0.0/8 that exists only between the lab's
namespaces.
"""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.lab.hosts import CLEAN_ENVIRONMENT, HostPlace, LabHost
from tests.lab.network import NetworkNamespace, Switch
from tests.lab.root_folder import LOGIN_USER, open_root_folder
from tests.lab.sweepup import PREFIX, record_owner, remove_run, sweep_up_leftovers

CONTROLLER_ADDRESS = "10.0.0.5"
REPOSITORY = Path(__file__).resolve().parents[2]


class LabError(Exception):
    """The lab did not come up."""


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


class Lab:
    """Comes up whole or not at all; leaves nothing behind, however its owner ends."""

    def __init__(self, addresses: Mapping[str, str], cache: Path | None = None) -> None:
        """Hosts by name; `cache` holds the shared root folder and the running labs."""
        self._addresses = dict(addresses)
        self._cache = cache if cache is not None else read_cache_folder()
        self._prefix = f"{PREFIX}{secrets.token_hex(3)}"
        self._run_folder = self._cache / "runs" / self._prefix
        self._guard: subprocess.Popen[bytes] | None = None
        self.hosts: dict[str, LabHost] = {}
        self.boot_s = 0.0

    @property
    def identity_file(self) -> Path:
        """The private key that the login user of every host accepts."""
        return self.controller.home / ".ssh/id_ed25519"

    def __getitem__(self, name: str) -> LabHost:
        return self.hosts[name]

    def __enter__(self) -> Self:
        root_folder = open_root_folder(self._cache)
        runs = self._run_folder.parent
        runs.mkdir(exist_ok=True)
        sweep_up_leftovers(runs)
        record_owner(self._run_folder, os.getpid())
        try:
            self._open(root_folder)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def reinstall(self, *names: str) -> None:
        """Factory-new disks, the same names, addresses and keys; all hosts when none is named."""
        hosts = [self.hosts[name] for name in names] or list(self.hosts.values())
        self._boot(hosts, install=True)

    def add_host(self, name: str, address: str) -> LabHost:
        """One more machine on the same switch; earlier hosts do not know its name."""
        host = self.hosts[name] = LabHost(name, address, self._place)
        self._boot([host], install=True)
        return host

    def wait_until_ready(self, hosts: Sequence[LabHost], within_s: float = 60) -> None:
        """Ready is a host whose sshd says who it is and whose systemd has nothing left to start."""
        with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
            list(pool.map(lambda host: self._wait_for(host, within_s), hosts))

    def _open(self, root_folder: Path) -> None:
        self._run_folder.mkdir()
        self._run_folder.chmod(0o700)
        self._start_guard()
        subprocess.run(["mount", "-t", "tmpfs", self._prefix, self._run_folder], check=True, timeout=30)
        switch = Switch(NetworkNamespace(f"{self._prefix}-switch"))
        switch.create()
        self.controller = self._open_controller(switch)
        self._place = HostPlace(
            prefix=self._prefix,
            run_folder=self._run_folder,
            root_folder=root_folder,
            switch=switch,
            login_user=LOGIN_USER,
            authorized_key=self.identity_file.with_suffix(".pub").read_text(encoding="ascii").strip(),
            host_table=self._format_host_table(),
        )
        self.hosts = {name: LabHost(name, address, self._place) for name, address in self._addresses.items()}
        self._boot(list(self.hosts.values()), install=True)

    def _open_controller(self, switch: Switch) -> Controller:
        namespace = NetworkNamespace(f"{self._prefix}-controller")
        namespace.create()
        switch.plug_in(namespace, CONTROLLER_ADDRESS)
        home = self._run_folder / "controller-home"
        identity_file = home / ".ssh/id_ed25519"
        identity_file.parent.mkdir(parents=True, mode=0o700)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(identity_file)]
        subprocess.run(command, check=True, timeout=30)
        return Controller(namespace, home, identity_file)

    def _boot(self, hosts: list[LabHost], *, install: bool) -> None:
        started_at = time.monotonic()
        for host in hosts:
            if install:
                host.install()
            host.boot()
        self.wait_until_ready(hosts)
        self.boot_s = time.monotonic() - started_at

    def _wait_for(self, host: LabHost, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not self.controller.read_banner(host.address).startswith(b"SSH-2.0-"):
            if time.monotonic() > deadline or not host.is_running:
                raise LabError(f"{host.name} did not answer on port 22; its console said:\n{host.console[-3000:]}")
            time.sleep(0.05)
        host.run(["systemctl", "is-system-running", "--wait"], timeout_s=within_s)

    def _format_host_table(self) -> str:
        rows = {"127.0.0.1": "localhost", CONTROLLER_ADDRESS: "controller"}
        rows |= {address: name for name, address in self._addresses.items()}
        return "".join(f"{address}\t{name}\n" for address, name in rows.items())

    def _start_guard(self) -> None:
        # A session of its own: what interrupts the tests must not interrupt the one who cleans up.
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.sweepup", str(self._run_folder)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=REPOSITORY, start_new_session=True,
        )  # fmt: skip

    def _close(self) -> None:
        remove_run(self._run_folder)
        for host in self.hosts.values():
            host.cut_power()  # its processes are gone already; this reaps nspawn
        if self._guard is not None:
            self._guard.communicate(timeout=30)


def read_cache_folder() -> Path:
    """Not a shared temporary folder: the root folder outlives reboots, and systemd empties those."""
    folder = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = Path(folder) / "dicom-fleet/lab"
    cache.mkdir(parents=True, exist_ok=True)
    return cache
