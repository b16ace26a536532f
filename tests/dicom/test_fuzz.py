"""The fuzz target for a fixed number of runs here, for ten million in the long runs."""

import os
import random
import subprocess
import sys
from pathlib import Path

from tests.dicom.fuzz_core import Runs, run_blindly

REPOSITORY = Path(__file__).parents[2]


def test_no_input_makes_a_reader_crash_hang_or_keep_what_it_read() -> None:  # T50
    count, limit_s = (10_000_000, 7200) if os.environ.get("FLEET_SOAK") == "1" else (20_000, 120)
    command = [sys.executable, "-m", "tests.dicom.fuzz_core", str(count), "7"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=limit_s, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{count} runs, " in done.stdout + done.stderr


def test_mutated_captures_are_read_without_a_crash() -> None:
    run_blindly(Runs(2_000), 2_000, random.Random(1).randrange(1000))
