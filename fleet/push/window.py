"""The window between a switch and its confirmation: the way back that a host keeps, and what is asked about it.

The way back is a program that the host runs by itself (programs/revert.sh) and a folder that it reads; both are
on the host before the first live file changes. Whoever decides first, by link(2) on the host, has decided.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from fleet.errors import HostError
from fleet.plan.decide import make_handler_name
from fleet.plan.steps import (
    DaemonReload,
    EnableUnit,
    HostPlan,
    MakeFolder,
    ReloadUnit,
    RemoveFile,
    RestartUnit,
    RunHandler,
    StartUnit,
    StopUnit,
    WriteFile,
)
from fleet.push.lock import encode_owner
from fleet.push.script import Script, decode_text, format_call, format_call_with, format_script, parse_reply, split_path
from fleet.push.transport import CommandResult

PHASE = "confirm"


class Window(StrEnum):
    """Where a run's window stands on its host."""

    ARMED = "armed"
    CONFIRM = "confirm"  # decided, and about to be put away
    CONFIRMED = "confirmed"
    REVERTING = "reverting"
    REVERTED = "reverted"
    FAILED = "failed"  # the host went back, and not everything is as it was
    NONE = "none"  # the host knows of no window of this run


@dataclass(frozen=True, slots=True)
class WindowReport:
    """What the host says of a window; `detail` is what could not be put back."""

    window: Window
    detail: str = ""


def needs_way_back(plan: HostPlan) -> bool:
    """Whether anything that lives changes: records alone need none."""
    changing = WriteFile | RemoveFile | StopUnit | EnableUnit | StartUnit | RestartUnit | ReloadUnit | RunHandler
    return any(isinstance(step, changing) for step in plan.steps)


def drain_seconds(plan: HostPlan) -> float:
    """How long the plan's own restarts may wait for associations: time that the window has to have on top."""
    return sum(step.drain_s for step in plan.steps if isinstance(step, RestartUnit))


def list_touched_units(plan: HostPlan) -> dict[str, str]:
    """The units that the plan touches, and how each is brought back to its old files."""
    found: dict[str, str] = {}
    for step in plan.steps:
        match step:
            case RestartUnit():
                found[step.unit] = "restart"
            case ReloadUnit():
                found[step.unit] = "reload"
            case StartUnit() | EnableUnit() | StopUnit():
                found.setdefault(step.unit, "start")
            case _:
                continue
    return found


def list_owing(plan: HostPlan) -> list[str]:
    """Units and handlers that have to run after a switch: until they have, they owe it."""
    found: set[str] = set()
    for step in plan.steps:
        match step:
            case StopUnit() | StartUnit() | RestartUnit() | ReloadUnit():
                found.add(step.unit)
            case RunHandler():
                found.add(make_handler_name(step.command))
            case _:
                continue
    return sorted(found)


def format_revert_program(plan: HostPlan, token: str, owner: str) -> str:
    """What the host runs to be again as the plan found it: units that were not there go, files come back,
    units that were there read them."""
    units = list_touched_units(plan)
    calls = [format_call("revert_begin", token, encode_owner(owner))]
    calls += [format_call("quit_unit", unit) for unit in units]
    calls += [_back(step) for step in plan.steps if isinstance(step, WriteFile | RemoveFile)]
    made = [step.path for step in plan.steps if isinstance(step, MakeFolder)]
    calls += [format_call("back_record", name) for name in list_owing(plan)]
    calls.append("back_manifest")
    if any(isinstance(step, DaemonReload) for step in plan.steps):
        calls.append("read_units_again")
    calls += [format_call("wake_unit", unit, how) for unit, how in units.items()]
    calls += list(_handle(plan))
    calls.append("clean_staged")
    calls += [format_call("back_folder", path) for path in sorted(made, reverse=True)]
    calls.append("revert_end")
    return format_script("revert", calls, "lock", "arm")


def _back(step: WriteFile | RemoveFile) -> str:
    before = step.before
    words = (before.digest, f"{before.mode:o}", before.owner or "-") if before else ("absent", "-", "-")
    return format_call("back_file", *split_path(step.path), *words)


def _handle(plan: HostPlan) -> Iterator[str]:
    for step in plan.steps:
        if isinstance(step, RunHandler):
            yield format_call_with(step.command.encode(), "handle_again")


def make_confirm_script(token: str) -> Script:
    """What was done stays; asked on a connection that was made after it was done."""
    return Script("confirm", format_script("window", [format_call("confirm_window", token)], "lock", "arm"), token)


def make_revert_script(token: str) -> Script:
    """Asks the host to go back now, by its own hand, and says where it stands; may be asked again and again."""
    return Script("revert", format_script("window", [format_call("revert_window", token)], "lock", "arm"), token)


def parse_window_reply(result: CommandResult) -> WindowReport:
    """Where the window stands; HostError when the answer is none."""
    lines = parse_reply(result.stdout, PHASE, stderr=result.stderr, status=result.status)
    for words in lines:
        if words[0] == "window" and len(words) == 3 and words[1] in set(Window):
            return WindowReport(Window(words[1]), decode_text(words[2], PHASE))
    raise HostError("the host's answer is garbled: it says nothing of the window", phase=PHASE)
