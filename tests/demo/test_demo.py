"""The whole demo, in this process: every claim holds, nothing is left behind."""

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.demo import play, twins
from fleet.demo.premises import Hospital
from fleet.demo.stage import Runs, Stage, make_context, read_stage
from fleet.demo.telling import Teller
from fleet.demo.units import CannotStartError
from fleet.errors import UsageError
from fleet.push.pool import ConnectionPool
from fleet.push.ssh.connector import SshConnector
from fleet.workflow.changing import plan_hosts

CLAIMS = (
    "valid, and nobody was contacted",
    "MAIN_PACS's table admits those whom the flows allow, and nobody else",
    "exit status 3: changes are pending, nothing was written",
    "a second plan is empty",
    "every AE answers C-ECHO with status 0000H",
    "a title that no flow names is rejected by the archive",
    "it came to the screen that asked (floor 1: 1, floor 2: 0)",
    "it came to the screen that asked (floor 1: 0, floor 2: 1)",
    "the one error, with both places and what it would do",
    "exit status 2, nobody was contacted",
    "success was reported, and the image is on the other floor's screen",
    "all is as the inventory says",
)


def demo_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("demo-", "Acceptor"))]


@dataclass(frozen=True)
class Run:
    """What the whole demo told, how it ended, and what lay in its temporary folder afterwards."""

    status: int
    told: tuple[str, ...]
    left: tuple[Path, ...]
    threads: tuple[str, ...]

    @property
    def story(self) -> str:
        """All of it in one line."""
        return " ".join(" ".join(self.told).split())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("temporary")
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        status = play.run_demo(told.append)
    return Run(status, tuple(told), tuple(folder.iterdir()), tuple(demo_threads()))


def test_the_count_of_what_is_valid_is_the_one_that_fleet_validate_prints(whole: Run) -> None:
    assert "$ fleet validate demo-hospital is valid: 0 errors, 3 warnings (7 entities, 7 titles, 1 site, 3 hosts)" in (
        whole.story
    )


def test_every_claim_of_the_story_holds(whole: Run) -> None:
    assert [claim for claim in CLAIMS if f"ok {claim}" not in whole.story] == []
    assert "NOT SO" not in whole.story
    assert whole.status == 0


def test_the_refusal_names_both_places_and_what_it_would_do(whole: Run) -> None:  # T05
    assert "inventory/boxes.yml:14:15: error[ae-title-duplicate]" in whole.story
    assert "and inventory/boxes.yml:8:15" in whole.story
    assert "images silently go to the other machine" in whole.story


def test_nothing_is_left_behind(whole: Run) -> None:
    assert (whole.left, whole.threads) == ((), ())


def test_every_line_fits_into_80_columns_and_moves_no_cursor(whole: Run) -> None:
    lines = [line for text in whole.told for line in text.split("\n")]
    assert [line for line in lines if len(line) > 80] == []
    assert all(line.isprintable() for line in lines)


def test_a_story_whose_edit_never_happened_does_not_end_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(twins, "edit_title", lambda _hospital, _box, _title: ("inventory/boxes.yml", "", ""))
    assert play.run_demo(told.append) == 1
    assert "  NOT SO  the one error, with both places and what it would do" in told
    assert any(line.startswith("This did not end as told") for line in told)


def test_a_kept_hospital_can_be_opened_again_and_is_as_desired(tmp_path: Path) -> None:
    told: list[str] = []
    assert play.run_demo(told.append, keep=tmp_path / "kept") == 0
    assert any("fleet demo --open" in line for line in told)

    hospital = Hospital((tmp_path / "kept").resolve())
    opened: list[str] = []

    def look() -> None:
        with pytest.raises(CannotStartError, match="open in another terminal"):
            play.open_kept(opened.append, tmp_path / "kept", lambda: None)
        reading = read_stage(hospital)
        with ConnectionPool(SshConnector(reading.inventory.hosts)) as pool:
            context = make_context(hospital, "test")
            planned = plan_hosts(reading, context, tuple(reading.inventory.hosts.values()), pool)
        assert (planned.plan.is_empty, planned.failures) == (True, ())

    assert play.open_kept(opened.append, tmp_path / "kept", look) == 0
    assert "pacs-1" in opened[0]
    assert demo_threads() == []
    assert [path for path in hospital.folder.rglob("*") if path.is_fifo() or path.is_socket()] == []


def test_a_folder_that_is_in_use_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(UsageError, match="not empty"):
        play.run_demo(lambda _line: None, keep=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_only_a_hospital_can_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no hospital"):
        play.open_kept(lambda _line: None, tmp_path, lambda: None)


def test_what_is_not_so_is_said_and_costs_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def lie(stage: Stage, _runs: Runs) -> None:
        stage.teller.claim(False, "pigs fly")

    monkeypatch.setattr(play, "play_change", lie)
    monkeypatch.setattr(play, "play_twins", lambda _stage, _runs: None)
    assert play.run_demo(told.append) == 1
    assert "  NOT SO  pigs fly" in told
    assert any("did not end as told (1)" in line for line in told)


def test_a_story_that_breaks_off_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def break_off(_stage: Stage, _runs: Runs) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(play, "play_change", break_off)
    assert play.run_demo(told.append) == 1
    assert any("broke off" in line and "Address already in use" in line for line in told)


def test_the_teller_breaks_long_lines_and_hides_the_folder() -> None:
    told: list[str] = []
    teller = Teller(told.append, "/tmp/x")
    teller.show(f"/tmp/x/inventory/a.yml: {'word ' * 30}")
    assert told[0].startswith("    inventory/a.yml: word")
    assert max(len(line) for line in told[0].split("\n")) <= 80
