"""A scene for every test: an empty inventory folder, no hosts, no history."""

from pathlib import Path

import pytest

from tests.push.fake_host import FakeHost
from tests.workflow.scenes import HEAD, NOTE, Scene, host_rows


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def three(scene: Scene) -> Scene:
    """Three hosts that should hold one file."""
    names = ("north-1", "north-2", "north-3")
    scene.write(HEAD + host_rows(names) + NOTE)
    scene.note("hello")
    scene.machines |= {name: FakeHost() for name in names}
    return scene
