"""A sweep of a list loads nothing of the inventory: the first answer of a small list would wait for it."""

import subprocess
import sys
from pathlib import Path

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
