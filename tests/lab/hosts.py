"""One host of the lab: a real systemd with a real sshd, on an overlay and a network namespace of its own.

Commands reach it through the namespaces of its first process, not through SSH, so a test can look at a host
and mend it while its network is cut off.
"""

import hashlib
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab.control_group import ControlGroup
from tests.lab.network import NetworkNamespace, Switch

# Without CAP_NET_ADMIN keepalived cannot add its address; VRRP itself is a raw socket.
CAPABILITIES = "CAP_NET_ADMIN,CAP_NET_RAW"
CLEAN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}
ENTERED_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")


class HostError(Exception):
    """A host of the lab did not do what the lab itself needs of it."""


@dataclass(frozen=True)
class HostPlace:
    """What a host is given by its lab."""

    prefix: str
    run_folder: Path
    lower_folders: tuple[Path, ...]
    switch: Switch
    login_user: str
    authorized_key: str
    host_table: str


class LabHost:
    """A machine that can be looked into, cut off, killed, started again and reinstalled."""

    def __init__(self, name: str, address: str, place: HostPlace) -> None:
        self.name = name
        self.address = address
        self._place = place
        self._folder = place.run_folder / name
        self._namespace = NetworkNamespace(f"{place.prefix}-{name}")
        self._group = ControlGroup(f"{place.prefix}-{name}")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader: int | None = None
        self._key_file = self._folder / "host-key"
        self._folder.mkdir()
        _make_key(self._key_file, comment=name)

    @property
    def host_key(self) -> str:
        """`ssh-ed25519 AAAA…`, as an inventory pins it; it outlives a reinstallation."""
        return " ".join(self._key_file.with_suffix(".pub").read_text(encoding="ascii").split()[:2])

    @property
    def console(self) -> str:
        """What the machine printed while it booted."""
        return (self._folder / "console.log").read_text(encoding="utf-8", errors="replace")

    @property
    def disk(self) -> Path:
        """The root of its file system, for who would look at many files; a running host's own mounts do not show."""
        return self._folder / "root"

    @property
    def network(self) -> NetworkNamespace:
        """Where a test may open connections of its own as this host; a boot makes a new one of the name."""
        return self._namespace

    @property
    def is_running(self) -> bool:
        return self._nspawn is not None and self._nspawn.poll() is None

    # -- commands and files ------------------------------------------------------------------------------

    def run(
        self, command: str | Sequence[str], *, stdin: str = "", timeout_s: float = 30, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """As root on the host; text is given to sh, a list is run as it is."""
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        done = subprocess.run(
            ["nsenter", f"--target={self._leader_id()}", *ENTERED_NAMESPACES, *words],
            input=stdin, env=CLEAN_ENVIRONMENT, capture_output=True, text=True, errors="replace",
            timeout=timeout_s, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise HostError(f"{self.name}: {command!r} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def write_file(self, path: str, content: str, *, mode: int = 0o644, owner: str = "root:root") -> None:
        quoted = shlex.quote(path)
        steps = [f'mkdir -p "$(dirname {quoted})"', f"cat > {quoted}", f"chmod {mode:o} {quoted}"]
        self.run(" && ".join([*steps, f"chown {owner} {quoted}"]), stdin=content, check=True)

    def read_file(self, path: str) -> str:
        return self.run(["cat", path], check=True).stdout

    def has_file(self, path: str) -> bool:
        return self.run(["test", "-e", path]).returncode == 0

    def write_sudo_rule(self, rule: str) -> None:
        """Replaces "may do everything" by one rule for the login user; a broken one is refused."""
        path = f"/etc/sudoers.d/{self._place.login_user}"
        self.write_file(path, rule.rstrip("\n") + "\n", mode=0o440)
        self.run(["visudo", "--check", "--quiet"], check=True)

    # -- services and faults -----------------------------------------------------------------------------

    def systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(["systemctl", *arguments], check=True)

    def kill_service(self, unit: str, number: str = "KILL") -> None:
        """All processes of the unit at once, as a crash does; systemd may start it again."""
        self.systemctl("kill", f"--signal={number}", "--kill-whom=all", unit)

    def iptables_drop(self, *, port: int | None = None, source: str | None = None) -> None:
        """A black hole for what comes in: for everything, one TCP port, or one source."""
        self._iptables("DROP", port, source)

    def iptables_reset(self, *, port: int | None = None, source: str | None = None) -> None:
        """A firewall that answers: TCP connections are reset."""
        self._iptables("REJECT --reject-with tcp-reset", port, source)

    def iptables_clear(self) -> None:
        self.run("iptables -w 5 -F", check=True)

    def mount_small_disk(self, path: str, size_bytes: int, inodes: int = 100) -> None:
        """An empty file system that is soon full, of bytes or of inodes; it goes with the next boot."""
        options = f"size={size_bytes},nr_inodes={inodes},mode=0755"
        self.run(["mkdir", "-p", path], check=True)
        self.run(["mount", "-t", "tmpfs", "-o", options, "small-disk", path], check=True)

    def unmount(self, path: str) -> None:
        self.run(["umount", path], check=True)

    def _iptables(self, target: str, port: int | None, source: str | None) -> None:
        needs_tcp = port is not None or target.startswith("REJECT")
        matches = (" -p tcp" if needs_tcp else "") + (f" --dport {port}" if port is not None else "")
        matches += f" -s {source}" if source is not None else ""
        self.run(f"iptables -w 5 -I INPUT{matches} -j {target}", check=True)

    # -- the machine's life ------------------------------------------------------------------------------

    def install(self) -> None:
        """A factory-new disk that carries nothing but this host's identity and the login."""
        if self.is_running:
            self.cut_power()
        root, layers = self.disk, self._folder / "layers"
        if root.is_mount():
            _run(["umount", str(root)])
        _run(["rm", "-rf", "--one-file-system", str(layers)])
        for folder in (root, layers / "upper", layers / "work"):
            folder.mkdir(parents=True, exist_ok=True)
        lower = ":".join(map(str, self._place.lower_folders))
        layout = f"lowerdir={lower},upperdir={layers}/upper,workdir={layers}/work"
        _run(["mount", "-t", "overlay", self._place.prefix, "-o", layout, str(root)])
        self._write_identity(root)

    def boot(self) -> None:
        """Returns at once; the lab waits for the SSH banners of all."""
        if self.is_running:
            return
        self._leader = None
        self._namespace.create()
        self._place.switch.plug_in(self._namespace, self.address)
        self._group.create()
        command = [
            "systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no",
            "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe",
            f"--capability={CAPABILITIES}", f"--network-namespace-path={self._namespace.path}",
            f"--machine={self._namespace.name}", f"--hostname={self.name}",
            f"--directory={self.disk}",
        ]  # fmt: skip
        with (self._folder / "console.log").open("ab") as console:
            self._nspawn = subprocess.Popen(
                self._group.entering(command), stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )

    def stop(self, within_s: float = 20) -> None:
        """An orderly shutdown: services are asked to end, the disk stays."""
        if self._nspawn is not None and self.is_running:
            self._nspawn.send_signal(signal.SIGTERM)  # systemd-nspawn(1): orderly shutdown of the payload
            with suppress(subprocess.TimeoutExpired):
                self._nspawn.wait(timeout=within_s)
        self.cut_power()

    def cut_power(self) -> None:
        """Everything dies at once; the disk stays, the addresses go."""
        self._group.remove()
        self._namespace.remove()
        if self._nspawn is not None:
            self._nspawn.wait(timeout=10)
        self._nspawn = self._leader = None

    def remove(self) -> None:
        """Machine, disk and key."""
        self.cut_power()
        _run(["umount", str(self.disk)])
        _run(["rm", "-rf", "--one-file-system", str(self._folder)])

    def _write_identity(self, root: Path) -> None:
        """Before the first boot, when no symbolic link of the host's own can lead out of its root."""
        user, home = self._place.login_user, root / "home" / self._place.login_user
        numbers = home.stat()
        keys = home / ".ssh/authorized_keys"
        _write(keys, self._place.authorized_key + "\n", 0o600)
        _run(["chown", f"{numbers.st_uid}:{numbers.st_gid}", str(keys)])
        _write(root / "etc/hostname", self.name + "\n")
        _write(root / "etc/hosts", f"{self.address}\t{self.name}\n{self._place.host_table}")
        # Without one systemd takes this for its first boot and enables every daemon by Debian's presets.
        machine_id = hashlib.sha256(self._namespace.name.encode()).hexdigest()[:32]
        _write(root / "etc/machine-id", machine_id + "\n", 0o444)
        _write(root / "etc/sudoers.d" / user, f"{user} ALL=(root) NOPASSWD: ALL\n", 0o440)
        _write(root / "etc/ssh/ssh_host_ed25519_key", self._key_file.read_text(encoding="ascii"), 0o600)

    def _leader_id(self) -> int:
        """The host's first process, seen from outside: nspawn's one child that is number 1 inside."""
        if self._nspawn is None or not self.is_running:
            raise HostError(f"{self.name} is not running; its console said:\n{self.console[-2000:]}")
        deadline = time.monotonic() + 10
        while self._leader is None and time.monotonic() < deadline:
            self._leader = _find_first_process(self._nspawn.pid)
        if self._leader is None:
            raise HostError(f"{self.name} has no first process; its console said:\n{self.console[-2000:]}")
        return self._leader


def _find_first_process(parent: int) -> int | None:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    for child in children:
        status = Path(f"/proc/{child}/status").read_text(encoding="ascii")
        numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
        if len(numbers) > 1 and numbers[-1] == "1" and "Name:\tsystemd" in status:
            return int(child)
    return None


def _make_key(path: Path, comment: str) -> None:
    _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def _write(path: Path, content: str, mode: int = 0o644) -> None:
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise HostError(f"{' '.join(command)}: {done.stderr.strip()}")
