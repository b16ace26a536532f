"""`fleet demo` as a function: build, tell, tidy up. Prints nothing itself; returns the exit status."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fleet.demo.change import play_change
from fleet.demo.opening import OpenHospital
from fleet.demo.premises import Hospital, make_hospital
from fleet.demo.stage import Runs, Stage, read_stage
from fleet.demo.telling import Tell, Teller
from fleet.demo.twins import play_twins
from fleet.errors import FleetError, UsageError

AS_TOLD, NOT_AS_TOLD = 0, 1


def run_demo(tell: Tell, keep: Path | None = None, clock: Callable[[], float] = time.monotonic) -> int:
    """The whole story; the hospital stays in `keep`, or goes with the temporary folder that it was made in."""
    began_at = clock()
    with _folder(keep) as folder:
        hospital = make_hospital(folder)
        teller = Teller(tell, str(hospital.folder))
        _introduce(teller)
        _play(hospital, teller)
        _conclude(teller, clock() - began_at)
    if keep is not None:
        _explain_kept(teller, hospital)
    return NOT_AS_TOLD if teller.failures else AS_TOLD


def open_kept(tell: Tell, folder: Path, wait: Callable[[], object]) -> int:
    """Switch on a hospital that was kept, until `wait` returns."""
    hospital = Hospital(folder.resolve())
    if not hospital.inventory.is_dir() or not hospital.identity.is_file():
        raise UsageError(f"{folder} holds no hospital of the demo; `fleet demo --keep {folder}` makes one")
    with OpenHospital(hospital, read_stage(hospital).inventory) as opened:
        names = [*opened.machines, *opened.boxes]
        tell(f"open: {', '.join(names)}; try in another terminal (Ctrl-C here closes them):")
        for line in _commands(hospital):
            tell(f"  {line}")
        wait()
    return AS_TOLD


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise UsageError(f"{keep} is there already and not empty; --keep wants a folder of its own")
        yield keep
        return
    with TemporaryDirectory(prefix="fleet-demo-") as folder:
        yield Path(folder)


def _introduce(teller: Teller) -> None:
    teller.tell("A small hospital in one process, on 127.0.0.0/8 alone, without root or dcmtk:")
    teller.say("three machines behind SSH (each a folder), a CT, an ultrasound, two workstations.")


def _play(hospital: Hospital, teller: Teller) -> None:
    """What breaks the story off is part of its ending, not a stack trace."""
    try:
        reading = read_stage(hospital)
        with OpenHospital(hospital, reading.inventory) as opened:
            stage = Stage(hospital, opened, reading, teller)
            runs = Runs(stage)
            play_change(stage, runs)
            play_twins(stage, runs)
    except (FleetError, OSError) as error:
        teller.claim(False, f"the story broke off: {error}")


def _conclude(teller: Teller, took_s: float) -> None:
    teller.tell("")
    if teller.failures:
        teller.tell(f"This did not end as told ({len(teller.failures)}):")
        for failure in teller.failures:
            teller.say(f"- {failure}")
        return
    teller.tell(f"All of it as told, in {took_s:.0f} s. One title, one entity: fleet holds you to it.")


def _explain_kept(teller: Teller, hospital: Hospital) -> None:
    teller.tell("")
    teller.tell(f"The hospital stays in {hospital.folder}; its machines are off. To go on:")
    teller.tell(f"  fleet demo --open {hospital.folder}")
    teller.tell("and in another terminal:")
    for line in _commands(hospital):
        teller.tell(f"  {line}")


def _commands(hospital: Hospital) -> list[str]:
    where = "-i inventory --history history.sqlite"
    return [
        f"cd {hospital.folder}",
        f"fleet validate {where}",
        f"fleet plan {where}",
        f"fleet verify {where} --from controller --from hosts -v",
        f"fleet history {where}",
    ]
