"""What this machine must be able to do before a lab can stand on it, asked before anything is started."""

import os
import shutil
import subprocess
from pathlib import Path

PROGRAMS = (
    "debootstrap", "systemd-nspawn", "ip", "nsenter", "mount", "ssh", "ssh-keygen", "apt-get", "chroot",
)  # fmt: skip
ECHOSCU = Path("/usr/bin/echoscu")  # dcmtk's own: a virtual environment may hold another of this name


def find_missing_needs() -> list[str]:
    """In words, for the reason of a skip; empty when a lab can be opened."""
    if os.geteuid() != 0:
        return ["root: the lab makes network namespaces, mounts and machines"]
    missing = [f"the program {name}" for name in PROGRAMS if shutil.which(name) is None]
    if not ECHOSCU.exists():
        missing.append(f"dcmtk's {ECHOSCU}")
    if "overlay" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        missing.append("the overlay file system in the kernel")
    if not missing and not _can_make_namespaces():
        missing.append("the right to make network and mount namespaces (a container without privileges?)")
    return missing


def _can_make_namespaces() -> bool:
    command = ["unshare", "--net", "--mount", "mount", "-t", "tmpfs", "probe", "/mnt"]
    return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
