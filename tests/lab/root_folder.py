"""The root folder that all hosts of the lab share, read-only, below their own overlays.

It is made once by debootstrap, from the mirror that this machine's apt uses, and kept in the cache folder
under a key of what went into it; a half-built one can never be taken for a whole one, because the folder
gets its final name only when it is complete.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST_PACKAGES = Path(__file__).with_name("host-packages.txt")
LOGIN_USER = "fleet"

# Runs inside the new root. Products are installed but stay off until a test or fleet itself starts them;
# timers and consoles would only add noise. Nothing of the building machine may shine through.
PREPARATION = f"""
set -eu
systemctl disable keepalived haproxy orthanc >/dev/null 2>&1
systemctl enable ssh >/dev/null 2>&1
systemctl mask console-getty.service getty@.service getty-static.service systemd-timesyncd.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
    e2scrub_all.timer e2scrub_reap.service >/dev/null 2>&1
useradd --create-home --shell /bin/sh --password '*' {LOGIN_USER}
install -d -m 0700 -o {LOGIN_USER} -g {LOGIN_USER} /home/{LOGIN_USER}/.ssh
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id /etc/resolv.conf /etc/hostname
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
rm -rf /usr/share/doc /usr/share/man /usr/share/locale /var/cache/apt/* /var/lib/apt/lists/*
cat > /etc/ssh/sshd_config.d/lab.conf <<'SSHD'
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 200:30:400
MaxSessions 100
HostKey /etc/ssh/ssh_host_ed25519_key
SSHD
"""


class RootFolderError(Exception):
    """The shared root folder cannot be made on this machine."""


def read_host_packages() -> list[str]:
    lines = HOST_PACKAGES.read_text(encoding="ascii").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def read_suite() -> str:
    """The lab speaks the machine's own release, since only that is sure to be on its mirror."""
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def format_key(suite: str, packages: list[str]) -> str:
    ingredients = json.dumps([suite, platform.machine(), packages, PREPARATION])
    return f"{suite}-{hashlib.sha256(ingredients.encode()).hexdigest()[:12]}"


def read_mirror(suite: str) -> tuple[str, str]:
    """The mirror's address and the components of the suite, as apt itself understands its sources."""
    template = "$(RELEASE)|$(REPO_URI)|$(COMPONENT)"
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", template, "Created-By: Packages"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    rows = [line.split("|") for line in listing.splitlines()]
    found = [(uri, component) for release, uri, component in rows if release == suite]
    if not found:
        raise RootFolderError(f"this machine's apt sources have no suite {suite!r}; run apt-get update first")
    mirror = found[0][0]
    if not mirror.startswith(("http://", "https://")):
        raise RootFolderError(f"debootstrap cannot read a mirror of the kind {mirror.partition(':')[0]!r}")
    components = sorted({component for uri, component in found if uri == mirror})
    return mirror, ",".join(components)


def read_proxies() -> dict[str, str]:
    """debootstrap fetches by wget, which knows apt's proxies only through its environment."""
    asked = ["http_proxy", "Acquire::http::Proxy", "https_proxy", "Acquire::https::Proxy"]
    answer = subprocess.run(
        ["apt-config", "shell", *asked], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    pairs = (line.partition("=") for line in answer.splitlines())
    return {name: value.strip("'") for name, _, value in pairs if value.strip("'") != "DIRECT"}


def open_root_folder(cache: Path) -> Path:
    """The finished root folder, built now when the cache has none."""
    suite, packages = read_suite(), read_host_packages()
    finished = cache / "roots" / format_key(suite, packages)
    finished.parent.mkdir(parents=True, exist_ok=True)
    with _only_one_builder(cache):
        if not finished.is_dir():
            beside = Path(tempfile.mkdtemp(prefix=f".{finished.name}.", dir=finished.parent))
            try:
                _build(beside, suite, packages, cache / "debs")
                beside.chmod(0o755)
                beside.rename(finished)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        os.utime(finished)
        _remove_unused(finished.parent)
    return finished


def _remove_unused(roots: Path) -> None:
    """A changed package list leaves the old folder behind; after two weeks no lab can still stand on it."""
    for folder in roots.iterdir():
        if folder.stat().st_mtime < time.time() - 14 * 24 * 3600:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _only_one_builder(cache: Path) -> Iterator[None]:
    with (cache / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(target: Path, suite: str, packages: list[str], debs: Path) -> None:
    mirror, components = read_mirror(suite)
    debs.mkdir(exist_ok=True)
    options = [f"--components={components}", f"--cache-dir={debs}"]
    _run(["debootstrap", "--variant=minbase", *options, suite, str(target), mirror])
    # debootstrap does not understand virtual packages, which Orthanc depends on, so apt brings the rest.
    # In a chroot its daemons would start on this machine itself; policy-rc.d is Debian's way to forbid that.
    policy = target / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    policy.chmod(0o755)
    _run(["chroot", str(target), "apt-get", "update"])
    archives = target / "var/cache/apt/archives"
    _move_packages(debs, archives)
    _run(["chroot", str(target), "apt-get", "install", "--yes", "--no-install-recommends", *packages])
    _move_packages(archives, debs)
    policy.unlink()
    _run(["chroot", str(target), "/bin/sh", "-c", PREPARATION])


def _move_packages(source: Path, destination: Path) -> None:
    for package in source.glob("*.deb"):
        shutil.move(package, destination / package.name)


def _run(command: list[str]) -> None:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, env=environment | read_proxies(), capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RootFolderError(f"{command[0]} ended with status {done.returncode}:\n{tail}")
