"""What `observe.sh` answered, as an `ObservedHost`. A host's words are data: it is asked by number and
answers by number, so it cannot name a path of its own choosing but in its manifest (T40)."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fleet.errors import HostError
from fleet.plan.grammar import is_own_path, is_path, is_unit
from fleet.plan.manifest import BrokenManifestError, Manifest, parse_manifest
from fleet.plan.question import Question
from fleet.plan.state import (
    FileKind,
    HostFacts,
    Missing,
    ObservedFile,
    ObservedHost,
    ObservedService,
    Started,
)
from fleet.push.script import decode_blob, decode_text, parse_reply
from fleet.push.transport import CommandResult

PHASE = "observe"


@dataclass(slots=True)
class _Notes:
    """What has been read so far; lives only inside `parse_observation`."""

    question: Question
    paths: dict[int, str]
    files: dict[int, ObservedFile] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    folders: dict[str, FileKind] = field(default_factory=dict)
    services: dict[str, ObservedService] = field(default_factory=dict)
    started: dict[str, Started] = field(default_factory=dict)
    programs: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    pythons: list[tuple[str, str]] = field(default_factory=list)
    undelivered: dict[str, str] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)
    manifest: Manifest | None = None
    manifest_problem: str = "was not answered"
    facts: HostFacts = field(default_factory=HostFacts)
    leftover: bool = False


def parse_observation(host: str, question: Question, result: CommandResult) -> ObservedHost:
    """The observed host; HostError when the answer is not one to what was asked."""
    lines = parse_reply(result.stdout, PHASE, stderr=result.stderr, status=result.status)
    notes = _Notes(question, {index: path for index, (path, _) in enumerate(question.files)})
    try:
        for words in lines:
            _READERS[words[0]](notes, words[1:])
    except (KeyError, IndexError, ValueError) as error:
        raise HostError(f"the host's answer is garbled: {error}", phase=PHASE) from error
    if len(notes.files) < len(question.files) or len(notes.folders) < len(question.folders):
        raise HostError("the host's answer is incomplete", phase=PHASE)
    return _assemble(host, notes)


def _assemble(host: str, notes: _Notes) -> ObservedHost:
    ours = notes.manifest.files if notes.manifest else {}
    files = {
        notes.paths[index]: replace(
            seen, path=notes.paths[index], managed=notes.paths[index] in ours, content=notes.contents.get(index)
        )
        for index, seen in notes.files.items()
    }
    return ObservedHost(
        host,
        files,
        notes.services,
        notes.folders,
        notes.started,
        notes.manifest,
        notes.manifest_problem,
        Missing(tuple(notes.programs), tuple(notes.users), tuple(notes.groups), tuple(notes.pythons)),
        notes.facts,
        notes.leftover,
        notes.undelivered,
    )


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"{word[:20]!r} is no number")
    return int(word)


def _read_file(notes: _Notes, words: list[str]) -> None:
    index, kind = _number(words[0]), FileKind(words[1])
    seen = ObservedFile(notes.paths[index], kind)
    if kind is FileKind.FILE:
        mode, owner, links, size, digest = words[2:7]
        notes.sizes[index] = _number(size)
        seen = replace(
            seen, mode=int(mode, 8), owner=None if owner == "-" else owner, links=_number(links), digest=digest
        )
    notes.files[index] = seen


def _read_content(notes: _Notes, words: list[str]) -> None:
    index = _number(words[0])
    content = decode_blob(words[1] or "-", PHASE)
    # A file that changed between the two reads is shown without its content.
    if hashlib.sha256(content).hexdigest() == notes.files[index].digest:
        notes.contents[index] = content


def _read_contents(notes: _Notes, words: list[str]) -> None:
    """The contents of several files in one, cut by the sizes that were told: one that moved on fits no digest."""
    blob, start = decode_blob(words[1] or "-", PHASE), 0
    for index in map(_number, words[0].split(",")):
        content = blob[start : start + notes.sizes[index]]
        start += notes.sizes[index]
        if hashlib.sha256(content).hexdigest() == notes.files[index].digest:
            notes.contents[index] = content


def _read_path(notes: _Notes, words: list[str]) -> None:
    """A file of the manifest that nobody asked for: the one place where a host names a path."""
    index, path = _number(words[0]), words[1]
    strange = not is_path(path) or is_own_path(path)
    if strange or index in notes.paths or (notes.manifest is not None and path not in notes.manifest.files):
        raise ValueError("a path that is not in its manifest")
    notes.paths[index] = path


def _read_manifest(notes: _Notes, words: list[str]) -> None:
    if words[0] == "absent":
        notes.manifest, notes.manifest_problem = Manifest(), ""
    elif words[0] in {"text", "lines"}:
        try:
            told = decode_blob(words[1], PHASE).decode("ascii") if words[0] == "text" else None
            text = "".join(f"{line}\n" for line in notes.own) if told is None else told
            notes.manifest, notes.manifest_problem = parse_manifest(text), ""
        except (BrokenManifestError, UnicodeDecodeError) as error:
            notes.manifest_problem = f"is broken: {error}"
    else:
        notes.manifest_problem = {
            "symlink": "is a symbolic link",
            "unreadable": "is no file that the user we log in as can read",
        }[words[0]]


def _read_own(notes: _Notes, words: list[str]) -> None:
    """One line of the manifest, whose words were cut at single spaces."""
    notes.own.append(" ".join(words))


def _read_folder(notes: _Notes, words: list[str]) -> None:
    notes.folders[notes.question.folders[_number(words[0])]] = FileKind(words[1])


def _read_unit(notes: _Notes, words: list[str]) -> None:
    """The properties that `systemctl show` printed, one `Name=value` a line (systemctl(1))."""
    unit = words[0]
    wanted = {*notes.question.units, *(notes.manifest.units if notes.manifest else ())}
    if unit not in wanted or not is_unit(unit):
        return
    text = decode_blob(words[1], PHASE).decode("utf-8", "replace")
    shown = dict(line.split("=", 1) for line in text.split("\n") if "=" in line)
    if "LoadState" not in shown:
        raise HostError(f"systemctl does not know how {unit} is (is systemd running?)", phase=PHASE)
    restarts = shown.get("NRestarts", "0")
    notes.services[unit] = ObservedService(
        unit,
        load=shown["LoadState"],
        active=shown.get("ActiveState", "inactive"),
        enabled=shown.get("UnitFileState", ""),
        needs_daemon_reload=shown.get("NeedDaemonReload") == "yes",
        automatic_restarts=int(restarts) if restarts.isascii() and restarts.isdigit() else 0,
    )


def _read_started(notes: _Notes, words: list[str]) -> None:
    notes.started[words[0]] = Started(words[1], words[2])


def _read_no_program(notes: _Notes, words: list[str]) -> None:
    notes.programs.append(notes.question.programs[_number(words[0])])


def _read_no_python(notes: _Notes, words: list[str]) -> None:
    notes.pythons.append((notes.question.pythons[_number(words[0])], decode_text(words[1], PHASE, 30)))


def _read_undelivered(notes: _Notes, words: list[str]) -> None:
    """What a relay that is no longer wanted says of its spool; nothing where it is empty."""
    if not is_unit(words[0]) or notes.manifest is None or words[0] not in notes.manifest.units:
        raise ValueError("a unit that is not in its manifest")
    notes.undelivered[words[0]] = decode_text(words[1], PHASE, 300)


def _read_no_user(notes: _Notes, words: list[str]) -> None:
    notes.users.append(notes.question.users[_number(words[0])])


def _read_no_group(notes: _Notes, words: list[str]) -> None:
    notes.groups.append(notes.question.groups[_number(words[0])])


def _read_uid(notes: _Notes, words: list[str]) -> None:
    notes.facts = replace(notes.facts, uid=_number(words[0]))


def _read_systemctl(notes: _Notes, words: list[str]) -> None:
    notes.facts = replace(notes.facts, has_systemctl=words == ["yes"])


def _read_listening(notes: _Notes, words: list[str]) -> None:
    notes.facts = replace(notes.facts, listening=frozenset(int(word, 16) for word in words))


def _read_connections(notes: _Notes, words: list[str]) -> None:
    known = dict(notes.facts.connections or {})
    known[int(words[0], 16)] = _number(words[1])
    notes.facts = replace(notes.facts, connections=known)


def _read_leftover(notes: _Notes, _words: list[str]) -> None:
    notes.leftover = True


_READERS: Mapping[str, Callable[[_Notes, list[str]], None]] = {
    "uid": _read_uid,
    "systemctl": _read_systemctl,
    "file": _read_file,
    "content": _read_content,
    "contents": _read_contents,
    "path": _read_path,
    "own": _read_own,
    "manifest": _read_manifest,
    "started": _read_started,
    "folder": _read_folder,
    "unit": _read_unit,
    "no-program": _read_no_program,
    "no-python": _read_no_python,
    "undelivered": _read_undelivered,
    "no-user": _read_no_user,
    "no-group": _read_no_group,
    "listening": _read_listening,
    "connections": _read_connections,
    "leftover": _read_leftover,
}
