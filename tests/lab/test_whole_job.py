"""The main job on real hosts: what the inventory says is there, all of it, and nothing is done twice."""

from tests.lab.hospital import PACS_FILE, UNITS, VIRTUAL_ADDRESS, Hospital


def test_apply_from_nothing_brings_every_service_up_and_a_second_one_touches_nothing(new_hospital: Hospital) -> None:
    hospital = new_hospital
    done = hospital.playbook("apply", "--adopt", "-v")
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
