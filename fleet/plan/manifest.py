"""The manifest: which files and units on a host are ours. A small text file, kept on the host.

    fleet-manifest 1
    file <sha256> <mode> <owner> <path>
    unit <name>
    end <number of lines between>

It is text by lines because the host reads it too, in plain sh. What comes back from a host is parsed
strictly: a line that is not ours makes the whole manifest broken, and a broken one is never taken for empty.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from fleet.plan.grammar import is_digest, is_own_path, is_owner, is_path, is_unit

HEADER = "fleet-manifest 1"
MAX_LINES = 20_000


class BrokenManifestError(ValueError):
    """The text is no manifest of ours; the message says at which line."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file as fleet last wrote it."""

    digest: str
    mode: int
    owner: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Files by path, and the units that fleet put into service."""

    files: Mapping[str, ManifestFile] = field(default_factory=lambda: MappingProxyType({}))
    units: tuple[str, ...] = ()


def format_manifest(manifest: Manifest) -> str:
    """The text of a manifest, sorted: same manifest, same bytes."""
    lines = [
        f"file {entry.digest} {entry.mode:04o} {entry.owner} {path}" for path, entry in sorted(manifest.files.items())
    ]
    lines += [f"unit {unit}" for unit in sorted(manifest.units)]
    return "\n".join([HEADER, *lines, f"end {len(lines)}", ""])


def parse_manifest(text: str) -> Manifest:
    """The manifest that a host sent; raises `BrokenManifestError` for what we would not have written."""
    lines = text.split("\n")
    if lines[0] != HEADER:
        raise BrokenManifestError(f"line 1 is not {HEADER!r} (torn, or written by a newer fleet)")
    if len(lines) > MAX_LINES or lines[-1] != "" or lines[-2:-1] != [f"end {len(lines) - 3}"]:
        raise BrokenManifestError("the last line does not match the number of lines (torn)")
    return _collect(enumerate(lines[1:-2], start=2))


def _collect(lines: Iterable[tuple[int, str]]) -> Manifest:
    files: dict[str, ManifestFile] = {}
    units: list[str] = []
    for number, line in lines:
        words = line.split(" ")
        if words[0] == "file" and len(words) == 5:
            files[_path(words[4], number)] = _entry(words, number)
        elif words[0] == "unit" and len(words) == 2 and is_unit(words[1]):
            units.append(words[1])
        else:
            raise BrokenManifestError(f"line {number} is neither a file nor a unit")
    return Manifest(MappingProxyType(files), tuple(sorted(set(units))))


def _path(text: str, number: int) -> str:
    if not is_path(text) or is_own_path(text):
        raise BrokenManifestError(f"line {number} names a path that fleet never writes")
    return text


def _entry(words: list[str], number: int) -> ManifestFile:
    _, digest, mode, owner, _ = words
    if not is_digest(digest) or not is_owner(owner) or not mode.isascii() or not mode.isdigit():
        raise BrokenManifestError(f"line {number} has no digest, mode or owner")
    try:
        bits = int(mode, 8)
    except ValueError as error:
        raise BrokenManifestError(f"line {number} has no octal mode") from error
    return ManifestFile(digest, bits & 0o7777, owner)
