"""A control group for each host, so that two systemds never share one tree.

systemd-nspawn makes its `payload` below the group that it was started in. Started side by side in one
group, two hosts would get the *same* `system.slice/ssh.service`, and each would kill the other's processes.
The group is also the one sure list of a host's processes: when nspawn is killed, its systemd lives on.
"""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOUNT_POINT = Path("/sys/fs/cgroup")


def read_hierarchies() -> list[Path]:
    """systemd's own hierarchies: one in a unified layout, two in a hybrid one."""
    candidates = [MOUNT_POINT, MOUNT_POINT / "systemd", MOUNT_POINT / "unified"]
    return [folder for folder in candidates if (folder / "cgroup.procs").is_file()]


@dataclass(frozen=True)
class ControlGroup:
    name: str

    def create(self) -> None:
        for folder in self._folders():
            folder.mkdir(exist_ok=True)

    def entering(self, command: list[str]) -> list[str]:
        """The command, changed so that it starts inside the group."""
        steps = "".join(f"echo $$ > '{folder}/cgroup.procs'; " for folder in self._folders())
        return ["/bin/sh", "-c", f'set -e; {steps}exec "$@"', "sh", *command]

    def process_ids(self) -> set[int]:
        lists = (members for folder in self._folders() for members in folder.rglob("cgroup.procs"))
        return {int(line) for members in lists for line in _read_lines(members)}

    def remove(self, within_s: float = 10) -> None:
        """Kills what runs inside and takes the group away."""
        deadline = time.monotonic() + within_s
        while (process_ids := self.process_ids()) and time.monotonic() < deadline:
            for process_id in process_ids:
                with suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGKILL)
            time.sleep(0.02)
        for folder in self._folders():
            _remove_tree(folder, deadline)

    def _folders(self) -> list[Path]:
        return [hierarchy / self.name for hierarchy in read_hierarchies()]


def find_control_groups(prefix: str) -> list[ControlGroup]:
    folders = (folder for hierarchy in read_hierarchies() for folder in hierarchy.glob(f"{prefix}*"))
    return [ControlGroup(name) for name in sorted({folder.name for folder in folders if folder.is_dir()})]


def _read_lines(members: Path) -> list[str]:
    try:
        return [line for line in members.read_text(encoding="ascii").split() if line != "0"]
    except OSError:  # the group went away while we looked
        return []


def _remove_tree(folder: Path, deadline: float) -> None:
    """The kernel lets a group go a moment after its last process; until then rmdir says EBUSY."""
    while folder.is_dir():
        for path, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                Path(path).rmdir()
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)
