"""The verb: wrong usage is 64, and whoever does not call it does not pay for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from fleet.cli.main import main


def test_a_hospital_is_made_or_opened_not_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--keep", str(tmp_path / "a"), "--open", str(tmp_path / "b")]) == 64
    assert "give one of them" in capsys.readouterr().err


def test_what_is_no_hospital_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--open", str(tmp_path)]) == 64
    assert "holds no hospital" in capsys.readouterr().err


def test_help_loads_neither_paramiko_nor_pynetdicom() -> None:
    code = (
        "import sys; from fleet.cli.main import main; main(['demo', '--help']);"
        "sys.exit(bool({'paramiko', 'pynetdicom', 'pydicom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
