"""A sweep of a list: it loads nothing of the inventory, and its flags are the only brakes that there are."""

import subprocess
import sys
from pathlib import Path

import pytest

from fleet.cli.main import main
from tests.verify.peers import Counter, serving

HEAVY = ("yaml", "jinja2", "jsonschema", "jsonschema_rs", "paramiko", "pynetdicom", "fleet.inventory", "fleet.push")
RUN = (
    "import sys; from fleet.cli.main import main; status = main(sys.argv[1:]);"
    f"print(status, *sorted(name for name in {HEAVY!r} if name in sys.modules))"
)


def test_a_whole_sweep_of_a_list_loads_no_inventory_template_or_ssh(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("NOBODY,127.0.0.1,1\n", encoding="ascii")
    words = ["verify", "--targets", "list.csv", "-q", "--compare", "last", "--history", "history.sqlite"]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines()[-1] == "2", done.stdout + done.stderr


@pytest.mark.parametrize(("words", "most"), [((), 1), (("--max-associations-per-host", "4"), 4)])
def test_an_address_of_a_list_gets_as_many_at_once_as_the_flag_says(
    tmp_path: Path, words: tuple[str, ...], most: int
) -> None:  # T54
    counter = Counter()
    with serving(counter) as peer:
        listed = tmp_path / "list.csv"
        listed.write_text("".join(f"A{n},127.0.0.1,{peer.port}\n" for n in range(24)), encoding="ascii")
        assert main(["verify", "--targets", str(listed), "-q", "--history", str(tmp_path / "h.sqlite"), *words]) == 0
    assert counter.most_at_once <= most
    assert most == 1 or counter.most_at_once > 1
