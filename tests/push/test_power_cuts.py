"""T30: the power of a host goes off while its files are changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CUTS = 200 if os.environ.get("FLEET_SOAK") == "1" else 5
NEEDED = ("mkfs.btrfs", "mkfs.ext4", "unshare", "mount")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting filesystems needs root")
@pytest.mark.skipif(
    any(shutil.which(each) is None for each in NEEDED),
    reason=f"{', '.join(NEEDED)} are needed (tests/debian-packages.txt)",
)
def test_after_a_power_cut_files_are_whole_and_the_next_run_finishes(tmp_path: Path) -> None:  # T30
    words = ["unshare", "-m", "--propagation", "private", sys.executable, "-m", "tests.push.power_cuts"]
    done = subprocess.run(
        [*words, str(CUTS), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120 + 5 * CUTS,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.stdout.write(done.stdout)  # pytest -rP
