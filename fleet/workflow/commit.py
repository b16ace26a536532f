"""Of which git commit the inventory is, and whether its files are those of the commit.

git is asked for names and trees only, never for `status`: that would run what the repository configures (hooks of
a file monitor, filters). Whether a file is as committed is seen from its own bytes.
"""

import hashlib
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_LIMIT_S = 5.0
_GIT = ("git", "--no-optional-locks", "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit; `is_dirty` when a file of the inventory is not as it has it."""

    name: str
    is_dirty: bool

    def __str__(self) -> str:
        return f"{self.name} (dirty)" if self.is_dirty else self.name


def read_commit(root: Path, paths: Iterable[str]) -> Commit | None:
    """The commit of the inventory in `root` that consists of `paths`; None without git, repository or commit."""
    folder = root if root.is_dir() else root.parent
    said = _ask(folder, "rev-parse", "--verify", "--end-of-options", "HEAD^{commit}")
    if said is None:
        return None
    name = said.decode("ascii", "replace").strip()
    listed = _ask(folder, "ls-tree", "-r", "-z", "HEAD", ".")
    blobs = _parse_tree(listed or b"")
    ours = set(paths)
    is_dirty = listed is None or any(blobs.get(path) != _digest_blob(folder / path, name) for path in ours)
    gone = any(path.endswith((".yml", ".yaml")) and not (folder / path).exists() for path in blobs)
    return Commit(name, is_dirty or (root.is_dir() and gone))


def _ask(folder: Path, *words: str) -> bytes | None:
    command = [*_GIT, "-C", str(folder), *words]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False, cwd=folder
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _parse_tree(listed: bytes) -> Mapping[str, str]:
    """Path below the folder → blob, as `git ls-tree -r -z` lists them."""
    found = {}
    for entry in listed.split(b"\0"):
        facts, tab, path = entry.partition(b"\t")
        words = facts.split(b" ")
        if tab and len(words) == 3:
            found[path.decode("utf-8", "surrogateescape")] = words[2].decode("ascii", "replace")
    return found


def _digest_blob(path: Path, commit: str) -> str:
    """What git would call the bytes of this file, in the kind of digest that the repository uses."""
    try:
        data = path.read_bytes()
    except OSError:
        return ""
    made = hashlib.sha256() if len(commit) == 64 else hashlib.sha1(usedforsecurity=False)
    made.update(b"blob %d\0" % len(data) + data)
    return made.hexdigest()
