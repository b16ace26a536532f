"""The one file that a host runs without installing anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.relay.bundle import make_bundle
from tests.relay.configs import make_document, make_route


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "fleet-relay.pyz"
    path.write_bytes(make_bundle())
    return path


def run(bundle: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """With a Python that sees neither this checkout nor this environment's libraries."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(bundle), *words],
        capture_output=True, text=True, timeout=60, check=False, cwd=bundle.parent, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def test_it_checks_a_configuration_with_all_its_steps(bundle: Path, tmp_path: Path) -> None:
    deidentify = {"profile": "basic", "options": [], "pseudonyms": ["PatientID"]}
    document = make_document(tmp_path / "spool", routes=[make_route(deidentify=deidentify)])
    path = tmp_path / "relay.json"
    path.write_text(json.dumps(document))
    done = run(bundle, "check", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_verb_is_in_it(bundle: Path) -> None:
    done = run(bundle, "-h")
    assert done.returncode == 0
    for verb in ("run", "status", "list", "retry", "quarantine", "drain", "pause", "resend", "when"):
        assert verb in done.stdout


def test_the_same_sources_make_the_same_bytes(bundle: Path) -> None:
    assert make_bundle() == bundle.read_bytes()
    assert bundle.stat().st_size < 4_000_000
