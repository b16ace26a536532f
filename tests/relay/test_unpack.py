"""Where the archive's library is put: private, whole, one start's own, and gone afterwards."""

import fcntl
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fleet.errors import FleetError
from fleet.relay.archive.unpack import open_library


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive that brings a library of one module; returns where its `__main__.py` lies."""
    path = tmp_path / "relay.pyz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("__main__.py", "")
        file.writestr("unpacked/brought/__init__.py", "WORD = 'new'\n")
    return path / "__main__.py"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_only_verbs_that_need_the_library_unpack_it(archive: Path, place: Path) -> None:
    with open_library(str(archive), ["status", "run"], str(place)):
        assert list(place.iterdir()) == []
    with open_library(str(archive), ["run"], str(place)):
        (folder,) = place.iterdir()
        assert (folder / "brought/__init__.py").read_text() == "WORD = 'new'\n"
        assert sys.path[0] == str(folder)
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(place.iterdir()) == []


def test_two_that_start_at_once_have_a_folder_each_and_leave_each_other_s_alone(archive: Path, place: Path) -> None:
    with open_library(str(archive), ["run"], str(place)), open_library(str(archive), ["check"], str(place)):
        assert len([folder for folder in place.iterdir() if (folder / "brought").is_dir()]) == 2
    assert list(place.iterdir()) == []


def test_what_a_killed_relay_left_is_swept_and_never_imported(archive: Path, place: Path) -> None:
    left = place / "fleet-relay-old"
    (left / "brought").mkdir(parents=True)
    (left / "brought/__init__.py").write_text("WORD = 'old'\n")
    (left / "in-use").touch()
    with open_library(str(archive), ["run"], str(place)):
        assert not left.exists()
        code = "import brought; print(brought.WORD)"
        done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": sys.path[0]}, capture_output=True,
                              text=True, check=True)  # fmt: skip
        assert done.stdout == "new\n"


def test_one_that_is_still_in_use_is_not_swept(archive: Path, place: Path) -> None:
    used = place / "fleet-relay-used"
    used.mkdir()
    with (used / "in-use").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open_library(str(archive), ["run"], str(place)):
            assert used.is_dir()


def test_a_folder_in_which_others_may_rename_things_is_refused(archive: Path, place: Path) -> None:
    place.chmod(0o777)
    with pytest.raises(FleetError, match="others may rename"), open_library(str(archive), ["run"], str(place)):
        pass
    place.chmod(0o1777)  # sticky, as the temporary folder is
    with open_library(str(archive), ["run"], str(place)):
        pass


def test_a_damaged_archive_is_named_and_leaves_nothing(archive: Path, place: Path) -> None:
    path = archive.parent
    path.write_bytes(path.read_bytes().replace(b"WORD = 'new'", b"WORD = 'bad'"))
    with pytest.raises(FleetError, match=r"relay\.pyz is damaged"), open_library(str(archive), ["run"], str(place)):
        pass
    assert list(place.iterdir()) == []


def test_no_room_is_told_with_what_to_do(archive: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(FleetError, match="name another folder in TMPDIR"),
        open_library(str(archive), ["run"], str(tmp_path / "missing")),
    ):
        pass
