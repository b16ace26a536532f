"""Staging: new files beside the old ones, proven whole on the host, and checked by their own products."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from fleet.errors import HostError
from fleet.plan.steps import HostPlan, MakeFolder, RunCheck, WriteFile
from fleet.push.lock import UNNAMED, Lease, encode_owner, parse_lease
from fleet.push.script import (
    PLAIN,
    WORD_BYTES,
    Script,
    decode_text,
    format_call,
    format_call_with,
    format_script,
    group_by_folder,
    parse_reply,
    split_path,
)
from fleet.push.transport import CommandResult

# sysexits.h EX_TEMPFAIL, timeout(1), and 128 + a signal: the product could not tell.
_INCONCLUSIVE = {"75", "124", "none"}


@dataclass(frozen=True, slots=True)
class StageReport:
    """How far staging came; `phase` is empty when all files are staged and checked."""

    phase: str = ""
    detail: str = ""
    evidence: str = ""
    lease: Lease | None = None  # somebody else's: the host is locked
    no_way_back: bool = False
    settled: bool = False  # an earlier run was undone first, so that this plan no longer fits


@dataclass(frozen=True, slots=True)
class StageSettings:
    """`token` names this run on this host, `left_s` is how long the lease outlives the script."""

    token: str = UNNAMED
    owner: str = "somebody"
    way_back: bool = False
    left_s: int = 20


def make_stage_script(plan: HostPlan, settings: StageSettings | None = None) -> Script:
    """The lease, then folders, files and checks of one host; nothing that lives is touched."""
    chosen = settings or StageSettings()
    paths = [step.path for step in plan.writes] + [step.path for step in plan.removals]
    folders = sorted({split_path(path)[0] or "/" for path in paths})
    way = "way-back" if chosen.way_back else "-"
    calls = [format_call("stage_begin", chosen.token, encode_owner(chosen.owner), way, *folders)]
    steps = list(enumerate(plan.steps))
    private = frozenset(file.path for file in plan.rendered.files if file.holds_secrets)
    for index, step in steps:
        if isinstance(step, MakeFolder):
            calls.append(format_call("make_folder", index, *split_path(step.path), f"{step.mode:o}", step.owner))
    for folder, writes in group_by_folder((index, step) for index, step in steps if isinstance(step, WriteFile)):
        calls += _stage(folder, writes, private)
    for index, step in steps:
        if isinstance(step, RunCheck):
            call = format_call_with(step.check.script.encode(), "run_check", index, *split_path(step.path))
            calls.append(call)
    calls.append(format_call("stage_end", chosen.left_s))
    return Script("stage", format_script("stage", calls, "lock", "arm"), plan)


def _stage(folder: str, writes: Sequence[tuple[int, WriteFile]], private: Container[str]) -> Iterator[str]:
    """One folder's files: all contents, then what makes them whole, for all of one mode and owner together."""
    yield format_call("stage_in", writes[0][0], folder)
    alike: dict[tuple[str, str], list[object]] = {}
    for index, step in writes:
        _, name = split_path(step.path)
        after = step.after
        # Where printf(1) is no builtin its words are seen by everybody who lists processes (T39).
        is_public = bool(after.mode & 0o004) and step.path not in private
        yield _content(index, name, after.content or b"", is_public=is_public)
        alike.setdefault((f"{after.mode:o}", after.owner or "-"), []).extend((index, name, after.digest))
    for (mode, owner), words in alike.items():
        yield format_call("stage_whole", mode, owner, *words)


def _content(index: int, name: str, content: bytes, *, is_public: bool) -> str:
    """Plain text is a word of the script, which its shell writes by itself; anything else travels as base64."""
    if is_public and len(content) <= WORD_BYTES and all(byte in PLAIN for byte in content):
        return format_call("stage_text", index, name, content.decode("ascii"))
    return format_call_with(content, "stage_bytes", index, name)


def parse_stage_reply(plan: HostPlan, result: CommandResult) -> StageReport:
    """What the host made of it; HostError when its answer is none."""
    lines = parse_reply(result.stdout, "stage", stderr=result.stderr, status=result.status)
    for words in lines:
        if words[0] == "locked" and words[1:] != ["free"]:
            lease = parse_lease(words[1:])
            return StageReport(
                "lock", f"{plan.host} is locked by {lease.describe()}; {_NOTHING}, and --wait waits", lease=lease
            )
        if words == ["locked", "free"]:
            return StageReport("lock", f"somebody else was at work on {plan.host} a moment ago; {_NOTHING}")
        if words == ["no-way-back"]:
            return StageReport("lock", f"{_NO_WAY_BACK}; {_NOTHING}", no_way_back=True)
        if words[0] == "settled" and len(words) == 2:
            return StageReport("lock", _explain_settled(decode_text(words[1], "stage")), settled=True)
        if words[0] == "failed" and len(words) == 4:
            return _explain_failure(plan, words[1], words[2], words[3])
        if words[0] == "checked" and len(words) == 4 and words[2] != "0":
            return _explain_check(plan, words[1], words[2], words[3])
    if lines[-1:] != [["staged"]]:
        raise HostError("the host stopped before everything was staged", phase="stage")
    return StageReport()


_NOTHING = "nothing was written"
_NO_WAY_BACK = (
    "the host has no systemd whose timers could undo the change, so there is no way back from what goes wrong: "
    "--no-way-back applies all the same"
)


def _explain_settled(said: str) -> str:
    fate = "it has been put back now" if " reverted " in f"{said} " else f"putting it back did not succeed ({said})"
    return f"an earlier run's change was never confirmed, and {fate}; plan again: this plan did not know of it"


def _explain_failure(plan: HostPlan, what: str, index: str, blob: str) -> StageReport:
    said = decode_text(blob, "stage")
    subject = name_step(plan.steps, index) or "fleet's own folder /var/lib/fleet"
    return StageReport(
        "check" if what == "check" else "stage", f"{subject}: {explain_errno(said)}; no live file was touched"
    )


def _explain_check(plan: HostPlan, index: str, status: str, blob: str) -> StageReport:
    step = plan.steps[int(index)] if index.isdigit() and int(index) < len(plan.steps) else None
    name = step.check.name if isinstance(step, RunCheck) else "the check"
    subject = name_step(plan.steps, index)
    inconclusive = status in _INCONCLUSIVE or not status.isdigit() or int(status) >= 128
    verdict = "could not tell whether the file is good" if inconclusive else "says that the file is bad"
    return StageReport(
        "check",
        f"{subject}: {name} {verdict} (exit status {status}); no live file was touched",
        decode_text(blob, "stage", 4000),
    )


def name_step(steps: Sequence[object], index: str) -> str:
    """The path or unit that a host's number means."""
    if not index.isdigit() or int(index) >= len(steps):
        return ""
    step = steps[int(index)]
    return str(getattr(step, "path", "") or getattr(step, "unit", "") or getattr(step, "command", ""))


_ERRNO_WORDS = (
    ("chcon: ", "the SELinux context of the old file could not be given to the new one"),
    ("No space left on device", "the disk is full (no space or no inodes left)"),
    ("Disk quota exceeded", "the disk quota is used up"),
    ("Read-only file system", "the filesystem is read-only"),
    ("Permission denied", "permission denied to the user that fleet logs in as (become: sudo?)"),
    ("Operation not permitted", "not permitted (an immutable file, or a user that may not)"),
    ("short write", "a short write: what arrived is not what was sent"),
    ("truncated base64", "a short write: what arrived is not what was sent"),
    ("invalid user", "its owner is no user of the host"),
    ("invalid group", "its group is no group of the host"),
    ("Input/output error", "the disk gives errors"),
)


def explain_errno(said: str) -> str:
    """strerror(3) as a sentence for people; what was said otherwise."""
    for word, meaning in _ERRNO_WORDS:
        if word in said:
            return f"{meaning} [{said[:200]}]"
    return said[:300] or "it failed without a word"
