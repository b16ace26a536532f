"""Whole processes, measured by the system's own account of them (wait4(2)): user, system, peak memory."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process (with the children it waited for) cost."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def run_once(command: Sequence[str]) -> Cost:
    """Run a command to its end, its output thrown away; raises when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said.decode()[-2000:]}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def compare(ours: Sequence[str], theirs: Sequence[str], rounds: int) -> tuple[Cost, Cost]:
    """The medians of two commands run in turn, so that a machine that slows down slows both."""
    run_once(ours), run_once(theirs)
    pairs = [(run_once(ours), run_once(theirs)) for _ in range(rounds)]
    return _median([pair[0] for pair in pairs]), _median([pair[1] for pair in pairs])


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.wall_s for cost in costs),
        statistics.median(cost.cpu_s for cost in costs),
        max(cost.peak_bytes for cost in costs),
    )


def fleet_command(*words: str) -> list[str]:
    """The installed `fleet` of this Python."""
    return [str(Path(sys.executable).with_name("fleet")), *words]


def python_command(code: str) -> list[str]:
    """This Python running a few lines."""
    return [sys.executable, "-c", code]
