"""The switch: staged files go live by rename, all or none, then each handler runs once."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from fleet.plan.decide import make_handler_name
from fleet.plan.manifest import Manifest, format_manifest
from fleet.plan.steps import (
    DaemonReload,
    EnableUnit,
    HostPlan,
    ReloadUnit,
    RemoveFile,
    RestartUnit,
    RunHandler,
    StartUnit,
    Step,
    StopUnit,
    WriteFile,
    WriteReason,
)
from fleet.push.lock import UNNAMED, parse_lease
from fleet.push.script import (
    WORD_BYTES,
    FileStep,
    Script,
    decode_text,
    format_call,
    format_call_with_plain,
    format_call_with_text,
    format_script,
    group_by_folder,
    parse_reply,
    split_path,
)
from fleet.push.stage import explain_errno, name_step
from fleet.push.transport import CommandResult
from fleet.push.window import format_revert_program, list_owing, list_touched_units


@dataclass(frozen=True, slots=True)
class SwitchReport:
    """How far the switch came; `phase` is empty when every step was done. `stale` when a file had moved on."""

    phase: str = ""
    detail: str = ""
    evidence: str = ""
    steps_done: int = 0
    stale: bool = False
    lost: bool = False  # the lease is no longer ours
    armed: bool = False  # the host undoes it unless it is told otherwise


@dataclass(frozen=True, slots=True)
class SwitchSettings:
    """`token` names this run on this host; `window_s` is None where nothing has to be confirmed."""

    token: str = UNNAMED
    owner: str = "somebody"
    window_s: int | None = None


_AFTERWARDS_S = 60  # how long the lease outlives the window: the host is putting back then


def make_switch_script(plan: HostPlan, settings: SwitchSettings | None = None) -> Script:
    """Look, keep, arm the way back, write down, rename, settle; then units and handlers; then what stays."""
    chosen = settings or SwitchSettings()
    steps = list(enumerate(plan.steps))
    calls = [format_call("switch_begin", chosen.token)]
    touched = group_by_folder((index, step) for index, step in steps if isinstance(step, WriteFile | RemoveFile))
    written = group_by_folder((index, step) for index, step in steps if isinstance(step, WriteFile))
    calls += [_call_for_each("expect_files", folder, touching, _expected) for folder, touching in touched]
    calls += [_call_for_each("keep_files", folder, touching, _kept) for folder, touching in touched]
    if chosen.window_s is not None:
        calls += _arm(plan, chosen, chosen.window_s)
    calls.append("keep_manifest")
    calls.append(_with_manifest(plan.during, "put_manifest"))
    owing = list_owing(plan)
    calls += [format_call("forget_started", *owing)] if owing else []
    calls += [_call_for_each("rename_files", folder, writes, _named) for folder, writes in written]
    calls += [format_call("stop_unit", index, step.unit) for index, step in steps if isinstance(step, StopUnit)]
    calls += [
        format_call("remove_file", index, *split_path(step.path))
        for index, step in steps
        if isinstance(step, RemoveFile)
    ]
    calls.append("settle_files")
    for index, step in steps:
        calls += _run(index, step)
    after = _with_manifest(plan.after, "put_manifest")
    calls += [f'[ -n "$broken" ] || {after}', format_call("switch_end", (chosen.window_s or 0) + _AFTERWARDS_S)]
    return Script("switch", format_script("switch", calls, "lock", "arm"), plan)


def _arm(plan: HostPlan, chosen: SwitchSettings, window_s: int) -> Iterator[str]:
    yield format_call("arm_begin", chosen.token)
    for unit in list_touched_units(plan):
        yield format_call("arm_unit", unit)
    for name in list_owing(plan):
        yield format_call("arm_record", name)
    yield _with_manifest(plan.during, "arm_during")
    program = format_revert_program(plan, chosen.token, chosen.owner)
    yield format_call_with_plain(program, "arm_end", window_s)


def _with_manifest(manifest: Manifest, function: str) -> str:
    text = format_manifest(manifest)
    return format_call(function, text) if len(text) <= WORD_BYTES else format_call_with_text(text, function)


def _call_for_each(
    function: str,
    folder: str,
    steps: Sequence[tuple[int, FileStep]],
    words: Callable[[int, FileStep], tuple[object, ...]],
) -> str:
    """One call for all files of a folder."""
    return format_call(function, folder, *(word for index, step in steps for word in words(index, step)))


def _named(index: int, step: WriteFile | RemoveFile) -> tuple[object, ...]:
    return index, split_path(step.path)[1]


def _expected(index: int, step: WriteFile | RemoveFile) -> tuple[object, ...]:
    before = step.before
    seen = (before.digest, f"{before.mode:o}", before.owner or "-") if before else ("absent", "-", "-")
    staged = step.after.digest if isinstance(step, WriteFile) else "-"
    return *_named(index, step), *seen, staged


def _kept(index: int, step: WriteFile | RemoveFile) -> tuple[object, ...]:
    original = isinstance(step, WriteFile) and step.reason is WriteReason.ADOPT
    return *_named(index, step), "keep" if original else "-"


def _run(index: int, step: Step) -> Iterator[str]:
    match step:
        case DaemonReload():
            yield format_call("run_unit", index, "-", "none", "none", "daemon-reload")
        case EnableUnit():
            yield format_call("run_unit", index, step.unit, "none", "none", "enable")
        case StartUnit():
            yield format_call("run_unit", index, step.unit, step.restart_token, step.reload_token, "start")
        case RestartUnit():
            yield format_call("run_unit", index, step.unit, step.restart_token, step.reload_token, "restart")
        case ReloadUnit():
            yield format_call("run_unit", index, step.unit, step.restart_token, step.reload_token, "reload")
        case RunHandler():
            name = make_handler_name(step.command)
            yield format_call_with_plain(step.command, "run_handler", index, name, step.token)
        case _:
            return


def parse_switch_reply(plan: HostPlan, result: CommandResult) -> SwitchReport:
    """What the host made of it; HostError when its answer is none."""
    lines = parse_reply(result.stdout, "switch", stderr=result.stderr, status=result.status)
    done = sum(1 for words in lines if words[0] in {"renamed", "removed"} or words[:1] + words[2:3] == ["ran", "0"])
    armed = ["armed"] in lines
    for words in lines:
        if words[0] == "lost":
            lease = parse_lease(words[1:]) if words[1:] != ["free"] else None
            holder = lease.describe() if lease else "nobody: it ran out, or was broken"
            return SwitchReport("lock", f"the lock on {plan.host} is no longer ours; it is held by {holder}", lost=True)
        if words[0] == "stale" and len(words) == 3:
            detail = f"{name_step(plan.steps, words[1])} moved on since the plan was made; nothing was written"
            return SwitchReport("switch", detail, stale=True)
        if words[0] == "failed" and len(words) == 4:
            return replace(_explain_failure(plan, words, lines, armed=armed), armed=armed)
    broken = [words for words in lines if words[0] == "ran" and len(words) == 4 and words[2] != "0"]
    if broken:
        names = ", ".join(
            f"{name_step(plan.steps, words[1]) or 'daemon-reload'} (exit status {words[2]})" for words in broken
        )
        evidence = " | ".join(decode_text(words[3], "switch") for words in broken)
        detail = f"files are in place, but {names} failed; it is owed, and the next plan contains it again"
        if armed:  # what becomes of the files is told by whoever looks at them after the way back
            detail = f"{names} failed"
        return SwitchReport("handler", detail, evidence, done, armed=armed)
    if ["switched-all"] not in lines:
        text = "the host stopped in the middle of the switch; plan again to see"
        return SwitchReport("switch", text, "", done, armed=armed)
    return SwitchReport(steps_done=len(plan.steps), armed=armed)


def _explain_failure(plan: HostPlan, words: list[str], lines: list[list[str]], *, armed: bool) -> SwitchReport:
    subject = name_step(plan.steps, words[2]) or "the manifest"
    said = explain_errno(decode_text(words[3], "switch"))
    back = [line for line in lines if line[0] == "rolled-back" and len(line) == 2]
    if armed:
        return SwitchReport("switch", f"{subject}: {words[1]} failed: {said}")
    if ["switched"] in lines:
        fate = "files are in place"
    elif not back:
        fate = "what had been done is not known"
    elif back[0][1] == "-":
        fate = "everything was put back"
    else:
        fate = f"put back all but {decode_text(back[0][1], 'switch')}"
    return SwitchReport("switch", f"{subject}: {words[1]} failed: {said}; {fate}")
