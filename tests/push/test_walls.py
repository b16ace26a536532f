import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["fleet.plan.decide", "fleet.plan.diff", "fleet.push.apply", "fleet.push.pool", "fleet.push.ping"]
)
def test_paramiko_is_loaded_by_one_module_only(module: str) -> None:
    code = f"import sys, {module}; sys.exit('paramiko' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
