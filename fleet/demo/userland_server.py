"""The other end of the stubs: one named pipe a host carries their words here, each waits on a pipe of its own."""

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

from fleet.demo.units import Answer

Program = Callable[[list[str]], Answer]
_STOP = b"stop\n"


def write_stub(root: Path, path: str) -> None:
    """Put the stub at a path of the host."""
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(files("fleet.demo").joinpath("userland", "stub.sh").read_bytes())
    target.chmod(0o755)


class UserlandServer:
    """Plays the programs of one host, by name, until `close`."""

    def __init__(self, root: Path, programs: Mapping[str, Program]) -> None:
        self._programs = programs
        self._folder = root / "run/demo"
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.iterdir():
            left.unlink()
        os.mkfifo(self._folder / "requests", 0o600)
        # Both ends, so that neither waits for the other to be opened and the end of one stub is not the end.
        self._requests = os.open(self._folder / "requests", os.O_RDWR)
        self._thread = threading.Thread(target=self._serve, name=f"demo-userland-{root.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No more answers."""
        os.write(self._requests, _STOP)
        self._thread.join(10)
        os.close(self._requests)
        (self._folder / "requests").unlink()  # whoever copies or searches a kept hospital would wait for it

    def _serve(self) -> None:
        with open(self._requests, "rb", closefd=False) as lines:
            for line in lines:
                if line == _STOP:
                    return
                number, name, *words = line.decode("utf-8", "replace").split()
                self._reply(number, self._ask(name, words))

    def _ask(self, name: str, words: list[str]) -> Answer:
        program = self._programs.get(name)
        if program is None:
            return Answer(127, (f"{name}: not on this host",))
        try:
            return program(words)
        except Exception as error:  # noqa: BLE001  a stub that gets no answer would wait for it
            return Answer(1, (f"{name}: {error}",))

    def _reply(self, number: str, answer: Answer) -> None:
        text = "\n".join([str(answer.status), *answer.lines, "end", ""])
        # Whoever asked holds its pipe open; if nobody does any more, nobody needs to know.
        with contextlib.suppress(OSError):
            pipe = os.open(self._folder / f"answer.{int(number)}", os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(pipe, text.encode())
            finally:
                os.close(pipe)
