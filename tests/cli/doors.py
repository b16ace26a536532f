"""The command line as it is typed: in this process with fake hosts, or as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fleet.cli import opening
from fleet.cli.main import main
from fleet.inventory.model import Inventory
from fleet.push.transport import Connector
from tests.push.fake_host import FakeConnector, FakeHost


@dataclass(frozen=True)
class Said:
    """What a verb said, where, and the exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one document on stdout."""
        document: dict[str, Any] = json.loads(self.out)
        return document


@dataclass
class Door:
    """A folder with an inventory, hosts that are dictionaries, a history of its own."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    machines: dict[str, FakeHost] = field(default_factory=dict)

    @property
    def inventory(self) -> Path:
        return self.root / "inventory"

    @property
    def history(self) -> Path:
        return self.root / "history.sqlite"

    def write(self, text: str, name: str = "fleet.yml") -> Path:
        path = self.inventory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def typed(self, *words: str) -> list[str]:
        """The words with this folder's inventory and history."""
        return [words[0], "-i", str(self.inventory), "--history", str(self.history), *words[1:]]

    def __call__(self, *words: str) -> Said:
        """Type it, with the inventory and the history of this folder."""
        return self.bare(*self.typed(*words))

    def bare(self, *words: str) -> Said:
        """Type exactly this."""
        self.monkeypatch.setattr(opening, "open_connector", self.connect)
        self.capsys.readouterr()
        status = main(list(words))
        seen = self.capsys.readouterr()
        return Said(status, seen.out, seen.err)

    @contextmanager
    def connect(self, _inventory: Inventory, **_more: object) -> Iterator[Connector]:
        yield FakeConnector(self.machines)


def spawn(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A process of its own, with a state folder of its own."""
    return subprocess.run(
        command(*words),
        cwd=folder,
        env=clean_environment(folder) | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from fleet.cli.main import run; run()", *words]


def clean_environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "LC_ALL"}}
    here = str(Path(__file__).parents[2])
    return kept | {"XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": here, "PYTHONWARNINGS": "error"}
