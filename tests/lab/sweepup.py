"""Takes away what a lab left: its processes, namespaces, mounts and control groups.

A lab's run folder is made before anything else and removed after everything else, and holds the id of the
process that owns it. So a run is swept up by the lab itself when it ends, by its guard when the owner was
killed, and by the next lab when the guard was killed as well; and never while the owner lives.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.lab.control_group import find_control_groups
from tests.lab.network import NAMESPACE_FOLDER, NetworkNamespace

PREFIX = "fleet-lab-"


def format_process_identity(process_id: int) -> str:
    """The id alone may be used again; together with the start time it names one process for ever."""
    after_name = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    state, started_at = after_name[0], after_name[19]  # proc(5): fields 3 and 22
    if state in "ZX":
        raise ProcessLookupError(f"{process_id} is dead and only waits for its parent to notice")
    return f"{process_id} {started_at}"


def is_owner_alive(run_folder: Path) -> bool:
    identity = _owner_file(run_folder).read_text(encoding="ascii").strip()
    try:
        return format_process_identity(int(identity.split()[0])) == identity
    except (FileNotFoundError, ProcessLookupError):
        return False


def record_owner(run_folder: Path, process_id: int) -> None:
    _owner_file(run_folder).write_text(format_process_identity(process_id) + "\n", encoding="ascii")


def sweep_up_leftovers(runs: Path) -> list[str]:
    """Removes the runs whose owners are dead; returns their names."""
    abandoned = [owner.with_suffix("") for owner in sorted(runs.glob(f"{PREFIX}*.owner"))]
    swept = []
    for run_folder in abandoned:
        if not is_owner_alive(run_folder):
            remove_run(run_folder)
            swept.append(run_folder.name)
    return swept


def remove_run(run_folder: Path) -> None:
    prefix = run_folder.name
    if not prefix.startswith(PREFIX):
        raise ValueError(f"{run_folder} is no run of a lab")
    groups = find_control_groups(f"{prefix}-")
    for group in groups:
        group.remove()
    for namespace in sorted(NAMESPACE_FOLDER.glob(f"{prefix}-*")):
        NetworkNamespace(namespace.name).remove()
    for mount_point in find_mounts_below(run_folder):
        subprocess.run(["umount", "--lazy", mount_point], capture_output=True, timeout=30, check=False)
    if find_mounts_below(run_folder):
        raise OSError(f"{run_folder} still has mounts below it; nothing was deleted")
    shutil.rmtree(run_folder, ignore_errors=True)
    _owner_file(run_folder).unlink(missing_ok=True)


def find_mounts_below(folder: Path) -> list[str]:
    """Deepest first. proc(5): the fifth field of mountinfo is the mount point."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [line.split()[4] for line in lines]
    inside = [point for point in points if Path(point) == folder or folder in Path(point).parents]
    return sorted(inside, key=lambda point: point.count("/"), reverse=True)


def _owner_file(run_folder: Path) -> Path:
    # Beside the folder, not in it: the folder itself is a mount point and vanishes first.
    return run_folder.parent / f"{run_folder.name}.owner"


def main() -> None:
    """The guard: waits for its owner's end, which closes the pipe however the owner died."""
    run_folder = Path(sys.argv[1])
    sys.stdin.read()
    if _owner_file(run_folder).exists():
        remove_run(run_folder)


if __name__ == "__main__":
    main()
