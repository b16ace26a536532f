"""A plan for people: unified diffs by file, equal ones folded over hosts, the outliers first.

What stood on a host is untrusted text: control characters, bidi controls and bytes that are no UTF-8 come
out as \\xNN (T40, T53), so that a diff cannot move the cursor of whoever reads it.
"""

import difflib
from dataclasses import dataclass

from fleet.plan.steps import (
    CleanLeftover,
    DaemonReload,
    EnableUnit,
    FileState,
    MakeFolder,
    Plan,
    RecordManifest,
    ReloadUnit,
    RemoveFile,
    RestartUnit,
    RunCheck,
    RunHandler,
    StartUnit,
    Step,
    StopUnit,
    WriteFile,
)
from fleet.plan.veil import Veil
from fleet.secrets.fingerprint import Fingerprint, hide_unknown

MAX_DIFF_LINES = 20_000
NO_VEIL = Veil()


def escape_text(text: str) -> str:
    """One line that does nothing to a terminal; tabs stay."""
    return "".join(char if char.isprintable() or char == "\t" else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def split_lines(content: bytes) -> list[str]:
    """The lines of any bytes, escaped; a missing last newline is a line of its own, as in diff(1)."""
    text = content.decode("utf-8", "backslashreplace")
    lines = text.split("\n")
    if lines[-1] == "":
        return [escape_text(line) for line in lines[:-1]]
    return [*(escape_text(line) for line in lines), "\\ No newline at end of file"]


def diff_file(path: str, before: FileState | None, after: FileState | None, veil: Veil = NO_VEIL) -> list[str]:
    """The unified diff of one file, mode and owner first; `veil` says how much of it may be shown."""
    lines = [f"--- {path if before else '/dev/null'}", f"+++ {path if after else '/dev/null'}"]
    if before and after and before.mode != after.mode:
        lines += [f"-mode {before.mode:04o}", f"+mode {after.mode:04o}"]
    if before and after and before.owner not in {None, after.owner}:
        lines += [f"-owner {before.owner}", f"+owner {after.owner}"]
    if after and not before:
        lines.append(f"+mode {after.mode:04o} owner {after.owner}")
    return lines + _diff_content(path, before, after, veil)


def _diff_content(path: str, before: FileState | None, after: FileState | None, veil: Veil) -> list[str]:
    if before and after and before.digest == after.digest:
        return []
    if veil.covers(path, before):
        return _diff_veiled(before, after, veil)
    if _is_binary(after) or _is_binary(before):
        return [_describe_bytes("-", before), _describe_bytes("+", after)]
    if (before and before.content is None) or (after and after.content is None):
        return ["(content not shown: too large, or the host did not send it)"]
    old = split_lines(before.content or b"") if before else []
    new = split_lines(after.content or b"") if after else []
    if len(old) + len(new) > MAX_DIFF_LINES:
        return [f"(content not shown: {len(old)} lines become {len(new)})"]
    return list(difflib.unified_diff(old, new, lineterm=""))[2:]


def _diff_veiled(before: FileState | None, after: FileState | None, veil: Veil) -> list[str]:
    """A file that holds secrets, or may have held some; neither bytes nor their digests are told."""
    if (before and before.content is None) or (after and veil.file is None) or _is_binary(after) or _is_binary(before):
        return ["(content not shown: it may hold secrets)"]
    text = (before.content or b"").decode("utf-8", "backslashreplace") if before else ""
    old = [escape_text(line) for line in veil.old_lines(text)] if before else []
    new = [escape_text(line) for line in veil.new_lines()] if after else []
    if len(old) + len(new) > MAX_DIFF_LINES:
        return [f"(content not shown: {len(old)} lines become {len(new)})"]
    lines = list(difflib.unified_diff(old, new, lineterm=""))[2:]
    return lines or ["(what differs is in lines that are not shown: they may hold secrets)"]


def _is_binary(state: FileState | None) -> bool:
    return state is not None and state.content is not None and b"\0" in state.content


def _describe_bytes(mark: str, state: FileState | None) -> str:
    """A file of which nobody reads lines, by what tells two of them apart."""
    if state is None:
        return f"{mark}(no file)"
    size = f"{len(state.content)} bytes" if state.content is not None else "bytes not asked for"
    return f"{mark}binary, {size}, sha256 {state.digest}"


def describe_step(step: Step, veil: Veil = NO_VEIL) -> tuple[str, ...]:
    """What a step would do: a sentence, and for files the diff below it."""
    match step:
        case WriteFile():
            head = f"{step.reason} {step.path}"
            return (head, *diff_file(step.path, step.before, step.after, veil))
        case RemoveFile():
            return (f"remove {step.path}", *diff_file(step.path, step.before, None, veil))
        case _:
            return (_describe_short(step),)


def _describe_short(step: Step) -> str:
    match step:
        case MakeFolder():
            return f"make folder {step.path} (mode {step.mode:04o}, owner {step.owner})"
        case RunCheck():
            return f"check {step.path} with {escape_text(step.check.name)}"
        case StopUnit():
            return f"stop and disable {step.unit}"
        case DaemonReload():
            return "reload systemd's unit files"
        case EnableUnit():
            return f"enable {step.unit}"
        case StartUnit():
            return f"start {step.unit}"
        case RestartUnit() | ReloadUnit():
            verb = "restart" if isinstance(step, RestartUnit) else "reload"
            return f"{verb} {step.unit} ({step.reason})"
        case RunHandler():
            return f"run handler {escape_text(step.command)} ({step.reason})"
        case RecordManifest():
            words = [*(f"+{name}" for name in step.claimed), *(f"-{name}" for name in step.dropped)]
            return f"write down what is ours: {' '.join(words)}"
        case CleanLeftover():
            return "remove what an interrupted run had staged"
        case _:
            return type(step).__name__


@dataclass(frozen=True, slots=True)
class FoldedDiff:
    """One change and all the hosts that it is the same on."""

    hosts: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def title(self) -> str:
        """The sentence over the diff."""
        return self.lines[0]


def fold_diffs(plan: Plan, fingerprint: Fingerprint = hide_unknown) -> tuple[FoldedDiff, ...]:
    """Equal changes once, with their hosts; the smallest groups first, for those are the odd ones."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for host in plan.hosts:
        files = {file.path: file for file in host.rendered.files}
        for step in host.steps:
            veil = Veil(files.get(getattr(step, "path", "")), fingerprint)
            lines = describe_step(step, veil)
            groups.setdefault(lines, []).append(host.host)
    folded = [FoldedDiff(tuple(hosts), lines) for lines, hosts in groups.items()]
    return tuple(sorted(folded, key=lambda group: len(group.hosts)))
