"""The built wheel, not only the checkout: schemas, playbooks and the demo's hospital travel inside it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fleet.relay.archive.bundle import make_bundle

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked into a folder of its own, ahead of the checkout on the path."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_installed(installed: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys, fleet.cli.main, pathlib\n"
        f"assert pathlib.Path(fleet.cli.main.__file__).is_relative_to({str(installed)!r}), fleet.cli.main.__file__\n"
        "sys.exit(fleet.cli.main.main(sys.argv[1:]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed), "XDG_STATE_HOME": str(cwd / "state")}
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_data_file_of_the_checkout_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {f"fleet/schemas/{path.name}" for path in (ROOT / "schemas").glob("*.json")}
    wanted |= {f"fleet/playbooks/{path.name}" for path in (ROOT / "playbooks").glob("*.yml")}
    for suffix in ("j2", "sh", "yml", "py"):
        wanted |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "fleet").rglob(f"*.{suffix}")}
    assert wanted <= names, wanted - names
    assert not [name for name in names if name.startswith("tests/")]


def test_the_wheel_knows_its_schemas(installed: Path, tmp_path: Path) -> None:
    done = run_installed(installed, tmp_path, "schema")
    assert done.returncode == 0, done.stderr
    assert {"inventory", "playbook", "sweep"} <= set(done.stdout.split())


def test_the_wheel_starts_validates_and_renders_a_first_inventory(installed: Path, tmp_path: Path) -> None:
    assert run_installed(installed, tmp_path, "init", "hospital").returncode == 0
    done = run_installed(installed, tmp_path / "hospital", "validate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "hospital" / "playbooks" / "apply.yml").is_file()


def test_the_wheel_renders_the_example_hospital(installed: Path, tmp_path: Path) -> None:
    inventory = str(ROOT / "inventory")
    done = run_installed(installed, tmp_path, "render", "-i", inventory, "-d", "out")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "out").rglob("dcmqrscp-*.cfg"))


def test_the_relay_s_one_file_travels_in_the_wheel_and_is_what_this_checkout_makes(
    installed: Path, tmp_path: Path
) -> None:
    shipped = installed / "fleet" / "fleet-relay.pyz"
    assert shipped.read_bytes() == make_bundle()
    bare = [sys.executable, "-I", "-S", str(shipped), "--help"]
    done = subprocess.run(bare, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "quarantine" in done.stdout) == (0, True), done.stderr
    assert run_installed(installed, tmp_path, "relay", "bundle", "out.pyz").returncode == 0
    assert (tmp_path / "out.pyz").read_bytes() == shipped.read_bytes()
