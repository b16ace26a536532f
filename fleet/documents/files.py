"""Which files an inventory is, and their bytes: below one folder, within limits, through no link that leads out."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fleet.documents.strict_yaml import MAX_FILE_BYTES, parse_document
from fleet.documents.values import Document, Documents
from fleet.errors import Location, Problem, Severity, UnreadableFile
from fleet.secrets.vault import Vault

MAX_FILES: Final = 10_000
MAX_TOTAL_BYTES: Final = 128 * 1024 * 1024

_SUFFIXES = (".yml", ".yaml")


def find_files(root: Path) -> list[Path]:
    """Every `*.yml` and `*.yaml` below `root` in path order (or `root` itself); what is hidden is left out.

    A symbolic link to a folder is listed too: it is not followed but refused by `read_documents`, since
    leaving out what it shows in silence would empty somebody's site. Raises `UnreadableFile` where there is
    nothing to read.
    """
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise UnreadableFile(
            f"{root}: no such inventory here; go to the folder that holds `inventory/`, or name it with -i; `fleet init"
            " DIR` makes a first one in a folder of its own, then `cd DIR`"
        )
    found = sorted(_walk(root))
    if _is_above_one(root, found):
        raise UnreadableFile(
            f"{root}: this is the folder above an inventory, with playbooks beside it; go there and leave -i out, or"
            f" name {root / 'inventory'}"
        )
    if not found:
        raise UnreadableFile(
            f"{root}: no *.yml or *.yaml below it; is this the inventory's folder? `fleet init DIR` makes a first one"
        )
    if len(found) > MAX_FILES:
        raise UnreadableFile(f"{root}: {len(found)} files, more than {MAX_FILES}; is this the inventory's folder?")
    return found


def _is_above_one(root: Path, found: list[Path]) -> bool:
    """What `fleet init` made, named one folder too high: the playbooks in it would be told as a broken inventory."""
    return {path.relative_to(root).parts[0] for path in found} == {"inventory", "playbooks"}


def _walk(root: Path) -> Iterator[Path]:
    """Files with our suffixes and symbolic links to folders, in no order."""

    def stop(error: OSError) -> None:
        raise UnreadableFile(f"{error.filename}: {error.strerror}; fleet reads nothing further") from error

    for folder, folders, names in os.walk(root, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(folder)
        yield from (here / name for name in folders if (here / name).is_symlink())
        for name in names:
            if name.endswith(_SUFFIXES) and not name.startswith(".") and not (here / name).is_dir():
                yield here / name


def read_documents(
    root: Path, text_keys: frozenset[str], vault: Vault | None = None
) -> tuple[Documents, list[Problem]]:
    """All files of the inventory at `root`, and what is wrong with them as YAML; `vault` opens its secrets."""
    vault = vault or Vault()
    documents: list[Document] = []
    problems: list[Problem] = []
    digests: list[tuple[str, str]] = []
    unread: list[str] = []
    base = root if root.is_dir() else root.parent
    remaining = MAX_TOTAL_BYTES
    for path in find_files(root):
        if path != root and (path.is_dir() or not path.resolve().is_relative_to(base.resolve())):
            problems.append(_escape_problem(path))
            unread.append(str(path))
            continue
        data = read_bytes(path)
        remaining -= len(data)
        if remaining < 0:
            problems.append(_too_much_problem(path))
            unread.append(str(path))
            break
        digests.append((path.relative_to(base).as_posix(), hashlib.sha256(data).hexdigest()))
        document, found = parse_document(data, str(path), text_keys, vault)
        problems += found
        if document is None:
            unread.append(str(path))
        elif document.value is not None:
            documents.append(document)
    return Documents(base, tuple(documents), tuple(digests), vault, tuple(unread)), problems


def _too_much_problem(path: Path) -> Problem:
    megabytes = MAX_TOTAL_BYTES // 1024 // 1024
    message = f"all files together are larger than {megabytes} MB; this one and those after it are not read"
    return Problem("yaml-too-large", Severity.ERROR, message, Location(str(path), 1, 1))


def _escape_problem(path: Path) -> Problem:
    message = (
        "a symbolic link to a folder, or out of the inventory's folder, is not followed: what it shows could change"
        " unseen; put the files themselves here"
    )
    return Problem("path-escapes", Severity.ERROR, message, Location(str(path), 1, 1))


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, at most one more than the limit so that the limit is noticed."""
    if not path.is_file():
        raise UnreadableFile(f"{path}: no regular file; fleet reads nothing further")
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}; fleet reads nothing further") from error


def read_beside(root: Path, name: str) -> bytes:
    """A file that the inventory names, which must lie below its folder, symbolic links followed (T12).

    Raises `ValueError` with the reason in words where it does not, or cannot be read.
    """
    if name.startswith("/") or "\x00" in name:
        raise ValueError(f"{name!r} must be a path below the inventory's folder")
    try:
        path = (root / name).resolve(strict=True)
        if not path.is_relative_to(root.resolve()):
            raise ValueError(f"{name!r} leads out of the inventory's folder")
        if not path.is_file():
            raise ValueError(f"{name!r} is no regular file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, RuntimeError) as error:  # a loop of symbolic links is a RuntimeError before Python 3.13
        raise ValueError(f"{name!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{name!r} is larger than {MAX_FILE_BYTES // 1024 // 1024} MB")
    return data


def is_shared(root: Path, name: str) -> bool:
    """Whether others than its owner may read a file beside the inventory."""
    try:
        return bool((root / name).stat().st_mode & 0o044)
    except OSError:
        return False
