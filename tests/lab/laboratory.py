"""The lab: hosts, a switch, and the controller from which fleet runs.

    with Lab({"north-pacs-1": "10.20.0.11"}) as lab:
        lab.controller.ssh(lab["north-pacs-1"], "uname -a")

Addresses are the example hospital's own, on one flat 10.0.0.0/8 that exists only between the lab's
namespaces.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.controller import CONTROLLER_ADDRESS, REPOSITORY, Controller
from tests.lab.hosts import HostPlace, LabHost
from tests.lab.network import NetworkNamespace, Switch
from tests.lab.root_folder import LOGIN_USER, open_root_folder
from tests.lab.sweepup import PREFIX, record_owner, remove_run, sweep_up_leftovers


class LabError(Exception):
    """The lab did not come up."""


class Lab:
    """Comes up whole or not at all; leaves nothing behind, however its owner ends."""

    def __init__(self, addresses: Mapping[str, str], cache: Path | None = None, layers: Sequence[Path] = ()) -> None:
        """Hosts by name; `cache` holds the shared root folder and the running labs; `layers` lie over that folder."""
        self._addresses = dict(addresses)
        self._layers = tuple(layers)
        self._cache = cache if cache is not None else read_cache_folder()
        self._prefix = f"{PREFIX}{secrets.token_hex(3)}"
        self.run_folder = self._cache / "runs" / self._prefix
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
        runs = self.run_folder.parent
        runs.mkdir(exist_ok=True)
        sweep_up_leftovers(runs)
        record_owner(self.run_folder, os.getpid())
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

    def add_host(self, name: str, address: str, *layers: Path) -> LabHost:
        """One more machine on the same switch, `layers` over its root folder; earlier hosts do not know its name."""
        (host,) = self.add_hosts({name: address}, *layers)
        return host

    def add_hosts(self, addresses: Mapping[str, str], *layers: Path) -> list[LabHost]:
        """Several at once."""
        place = replace(self._place, lower_folders=(*layers, *self._place.lower_folders))
        hosts = [LabHost(name, address, place) for name, address in addresses.items()]
        self.hosts |= {host.name: host for host in hosts}
        self._boot(hosts, install=True)
        return hosts

    def remove_host(self, name: str) -> None:
        """For a machine that one test added."""
        self.hosts.pop(name).remove()

    def wait_until_ready(self, hosts: Sequence[LabHost], within_s: float = 60) -> None:
        """Ready is a host whose sshd says who it is and whose systemd has nothing left to start."""
        with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
            list(pool.map(lambda host: self._wait_for(host, within_s), hosts))

    def _open(self, root_folder: Path) -> None:
        self.run_folder.mkdir()
        self.run_folder.chmod(0o700)
        self._start_guard()
        subprocess.run(["mount", "-t", "tmpfs", self._prefix, self.run_folder], check=True, timeout=30)
        switch = Switch(NetworkNamespace(f"{self._prefix}-switch"))
        switch.create()
        self.controller = self._open_controller(switch)
        self._place = HostPlace(
            prefix=self._prefix,
            run_folder=self.run_folder,
            lower_folders=(*self._layers, root_folder),
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
        home = self.run_folder / "controller-home"
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
                said = (
                    host.console[-3000:] or "nothing (for many machines fs.inotify.max_user_instances may be too low)"
                )
                raise LabError(f"{host.name} did not answer on port 22; its console said:\n{said}")
            time.sleep(0.05)
        host.run(["systemctl", "is-system-running", "--wait"], timeout_s=within_s)

    def _format_host_table(self) -> str:
        rows = {"127.0.0.1": "localhost", CONTROLLER_ADDRESS: "controller"}
        rows |= {address: name for name, address in self._addresses.items()}
        return "".join(f"{address}\t{name}\n" for address, name in rows.items())

    def _start_guard(self) -> None:
        # Detached: what interrupts the tests must not interrupt the one who cleans up.
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.sweepup", str(self.run_folder)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=REPOSITORY, start_new_session=True,
        )  # fmt: skip

    def _close(self) -> None:
        try:
            remove_run(self.run_folder)
        finally:
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
