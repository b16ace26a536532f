"""The one file that a host runs without installing anything."""

import json
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fleet.errors import FleetError
from fleet.relay.archive import bundle as bundle_module
from fleet.relay.archive.bundle import make_bundle, read_bundle
from tests.relay.configs import make_destination, make_document, make_route
from tests.relay.process import free_port, wait_for


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


def test_it_runs_and_takes_connections_with_a_home_that_it_may_not_write(bundle: Path, tmp_path: Path) -> None:
    document = make_document(tmp_path / "spool", destinations={"ARCHIVE": make_destination(port=free_port())})
    document["listen"]["port"] = port = free_port()
    config, cache, home = tmp_path / "relay.json", tmp_path / "cache", tmp_path / "home"
    config.write_text(json.dumps(document))
    cache.mkdir(mode=0o700)
    home.mkdir(mode=0o500)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "CACHE_DIRECTORY": str(cache)}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(bundle), "run", str(config)],
        cwd="/", env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: process.poll() is not None or answers(port), 20)
        assert process.poll() is None, process.communicate()[1]
        (folder,) = cache.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert not [path for path in folder.rglob("*") if path.stat().st_mode & 0o077]
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=20)[1]
    finally:
        process.kill()
        process.wait(10)
    assert process.returncode == 0, told
    assert '"stopped"' in told
    assert [*cache.iterdir(), *home.iterdir()] == []


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_the_same_sources_make_the_same_bytes(bundle: Path) -> None:
    assert make_bundle() == bundle.read_bytes()
    assert bundle.stat().st_size < 2_000_000


def test_nothing_in_it_has_a_time_an_owner_or_an_order_of_the_day(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {(entry.date_time, entry.external_attr) for entry in entries} == {((1980, 1, 1, 0, 0, 0), 0o644 << 16)}


def test_it_holds_the_relay_and_the_protocol_and_nothing_else_of_fleet(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
    rooms = {name.split("/")[1] for name in names if name.startswith("fleet/")}
    assert rooms == {"__init__.py", "errors.py", "events.py", "relay", "dicom"}
    assert not [name for name in names if name.endswith(".pyc") or "test" in name]


def test_only_the_named_release_of_its_library_is_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "LIBRARY_VERSION", "0.9")
    with pytest.raises(FleetError, match=r"pip install pydicom==0\.9"):
        make_bundle()


def test_the_release_that_is_shipped_is_the_one_that_the_build_is_pinned_to() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"pydicom=={bundle_module.LIBRARY_VERSION}"' in project


def test_an_installed_wheel_s_own_archive_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shipped = tmp_path / "fleet-relay.pyz"
    monkeypatch.setattr(bundle_module, "SHIPPED", shipped)
    assert read_bundle() == make_bundle()
    shipped.write_bytes(b"as shipped")
    assert read_bundle() == b"as shipped"


def test_an_old_python_is_told_what_it_lacks(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        source = archive.read("__main__.py").decode()
    old = tmp_path / "main.py"
    old.write_text(source.replace("import sys\n", "import sys\nsys.version_info = (3, 9)\n", 1))
    done = run(old)
    assert (done.returncode, "needs Python 3.11 or newer" in done.stderr) == (1, True)
