"""Network namespaces that hold all traffic of the lab: a switch, and one namespace for each machine.

The links are made inside the namespaces from the start, so nothing of the lab ever shows in the machine's
own network and two labs can use the same addresses at once.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

NAMESPACE_FOLDER = Path("/run/netns")
CLONE_NEWNET = 0x40000000  # setns(2)


def run_ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class NetworkNamespace:
    """One `ip netns`; knows nothing of what runs in it."""

    name: str

    @property
    def path(self) -> Path:
        return NAMESPACE_FOLDER / self.name

    def create(self) -> None:
        run_ip("netns", "add", self.name)
        run_ip("-n", self.name, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Also ends what still runs inside: whatever is in a namespace of ours was started by us."""
        if not self.path.exists():
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            process_ids = self.process_ids()
            for process_id in process_ids:
                with suppress(ProcessLookupError):
                    os.kill(process_id, number)
            _wait_until_gone(process_ids, within_s=2)
        run_ip("netns", "delete", self.name)

    def process_ids(self) -> list[int]:
        return [int(line) for line in run_ip("netns", "pids", self.name).split()]

    def run(
        self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            env=environment, capture_output=True, text=True, errors="replace", timeout=timeout_s,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread's new sockets belong to the namespace meanwhile; other threads' do not."""
        with Path("/proc/thread-self/ns/net").open("rb") as home, self.path.open("rb") as here:
            _set_namespace(here.fileno())
            try:
                yield
            finally:
                _set_namespace(home.fileno())


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _wait_until_gone(process_ids: list[int], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and any(Path(f"/proc/{number}").exists() for number in process_ids):
        time.sleep(0.02)


@dataclass(frozen=True)
class Switch:
    """A bridge in a namespace of its own; every machine hangs on it, on one flat network."""

    namespace: NetworkNamespace
    prefix_length: int = 8

    def create(self) -> None:
        self.namespace.create()
        # Without snooping VRRP's multicast reaches every port at once, as on a switch that does not snoop.
        self._ip("link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0")
        self._ip("link", "set", "br0", "up")

    def plug_in(self, machine: NetworkNamespace, address: str) -> None:
        """Gives the machine an eth0 with this address."""
        port = f"port{int(IPv4Address(address)):08x}"
        # The same card after every boot; with a new one, neighbours would talk to the old for half a minute.
        card = "02:00:" + IPv4Address(address).packed.hex(":")
        self._ip("link", "add", port, "type", "veth",
                 "peer", "name", "eth0", "address", card, "netns", machine.name)  # fmt: skip
        self._ip("link", "set", port, "master", "br0", "up")
        run_ip("-n", machine.name, "address", "add", f"{address}/{self.prefix_length}", "brd", "+", "dev", "eth0")
        run_ip("-n", machine.name, "link", "set", "eth0", "up")

    def _ip(self, *arguments: str) -> str:
        return run_ip("-n", self.namespace.name, *arguments)
