"""T60: the power goes off while a relay works; what it had acknowledged is on its disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.relay.process import ROOT

CUTS = int(os.environ.get("FLEET_CUTS", "200" if os.environ.get("FLEET_SOAK") else "5"))
NEEDED = ("mkfs.btrfs", "mkfs.ext4", "unshare", "mount")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting filesystems needs root")
@pytest.mark.skipif(
    any(shutil.which(each) is None for each in NEEDED),
    reason=f"{', '.join(NEEDED)} are needed (see tests/debian-packages.txt)",
)
def test_what_was_acknowledged_survives_power_cuts(tmp_path: Path) -> None:
    # T60
    words = ["unshare", "-m", "--propagation", "private", sys.executable, "-m", "tests.relay.power_cuts"]
    done = subprocess.run(
        [*words, str(CUTS), str(tmp_path)], capture_output=True, text=True, timeout=60 + 5 * CUTS, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.stderr.write(done.stdout)
