"""A server of ours starts only once nobody else holds its port, and says who does not let go."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fleet.render.engine import Templates
from fleet.render.formats import FORMATS

SHELLS = (["dash"], ["busybox", "sh"])


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "await-free-port"
    made = Templates(None).render("await-free-port.sh.j2", FORMATS["sh"], {}, host="h1")
    path.write_text(made.text, encoding="ascii")
    return path


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6])
def held(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port on which somebody listens on every address."""
    with closing(socket.socket(request.param)) as listener:
        listener.bind(("", 0))
        listener.listen()
        yield listener.getsockname()[1]


def run(shell: list[str], script: Path, port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, str(script), str(port), "0"], capture_output=True, text=True, timeout=10, check=False
    )


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_port_that_a_child_still_holds_keeps_the_next_server_from_starting(
    shell: list[str], script: Path, held: int
) -> None:
    done = run(shell, script, held)
    assert (done.returncode, f"port {held} is still held" in done.stderr) == (1, True)


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_port_that_only_connections_of_before_use_is_free(shell: list[str], script: Path) -> None:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        caller = socket.create_connection(("127.0.0.1", port))
        answering, _ = listener.accept()
    with closing(caller), closing(answering):
        assert run(shell, script, port).returncode == 0
