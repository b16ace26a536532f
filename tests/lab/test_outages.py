"""What fails over does so: first the partner's server, then the partner's address."""

import time
from collections.abc import Callable

from tests.lab.hospital import PACS_UNIT, Hospital, wait_until


def test_the_address_outlives_its_dicom_server_and_then_its_proxy(
    hospital: Hospital, remark: Callable[[str], None]
) -> None:
    first = hospital.lab["north-pacs-1"]
    assert hospital.holder() == "north-pacs-1"
    first.systemctl("stop", PACS_UNIT)
    started_at = time.monotonic()
    status, document = wait_for_service(hospital)
    remark(f"the address answers through the partner after {time.monotonic() - started_at:.1f} s")
    assert status == "answered", document
    assert hospital.holder() == "north-pacs-1", "HAProxy bridges it: nothing had to move"

    first.systemctl("stop", "haproxy")
    started_at = time.monotonic()
    moved_s = wait_until(lambda: hospital.holder() == "north-pacs-2", within_s=20)
    status, document = wait_for_service(hospital)
    remark(f"the address moved after {moved_s:.1f} s and answers after {time.monotonic() - started_at:.1f} s")
    assert status == "answered", document

    first.systemctl("start", PACS_UNIT, "haproxy")
    wait_until(lambda: hospital.holder() == "north-pacs-1", within_s=20)
    assert wait_for_service(hospital)[0] == "answered"


def wait_for_service(hospital: Hospital, within_s: float = 20) -> tuple[str, dict[str, object]]:
    """The outcome of the virtual address once it answers, or the last one in time."""
    deadline = time.monotonic() + within_s
    while True:
        _, document = hospital.verify("-l", "NORTH_PACS")
        (row,) = (row for row in document["results"] if row["virtual_service"] == "north-pacs")
        if row["outcome"] == "answered" or time.monotonic() > deadline:
            return row["outcome"], row
