"""Rendering within limits of time and memory: in one forked child for all hosts (T13).

A template may run for ever inside one expression, where no Python code gets a turn. So the kernel holds the
limits: before each host the child's soft limit of CPU time is set to what it has used and five seconds more,
and its address space may grow by 512 MB beyond what it inherited. A child that dies names the host that it was
at, whose problem it becomes; the hosts after it get another child. Forking hands over the inventory without a
copy, and a fleet of 1,000 hosts is rendered by one process.
"""

import json
import os
import resource
import select
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from fleet.errors import Problem, Severity, TemplateError
from fleet.inventory.model import Inventory
from fleet.inventory.peers import Peers
from fleet.render import wire
from fleet.render.artifacts import Program, RenderedHost
from fleet.render.collect import TEMPLATE_CODE, fold_failures
from fleet.render.hosts import NO_PROGRAMS, Rendered, begin_hosts

_CHUNK_BYTES: Final = 1024 * 1024
_MAX_LINE_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What rendering may cost. `silent_s` is wall time without a word from the child: CPU limits do not see sleep."""

    cpu_s_per_host: int = 5
    memory_bytes: int = 512 * 1024 * 1024
    silent_s: float = 120.0


def render_fleet_limited(
    inventory: Inventory,
    peers: Peers,
    *,
    template_folder: Path | None = None,
    only: Collection[str] | None = None,
    programs: Mapping[str, Program] = NO_PROGRAMS,
    limits: Limits = Limits(),
    meanwhile: Callable[[], object] | None = None,
) -> Rendered:
    """As `render_fleet`, but a template that knows no bounds costs its own host only.

    `meanwhile` is done here while the child works: a second processor would stand idle.
    """
    rendered: dict[str, RenderedHost] = {}
    problems: list[Problem] = []
    left = [name for name in inventory.hosts if only is None or name in only]
    while left:
        batch = _Batch(inventory, peers, template_folder, programs, tuple(left), limits, meanwhile)
        meanwhile = None
        for name, host, found in batch.results():
            left.remove(name)
            problems += found
            if host is not None:
                rendered[name] = host
        if batch.died_at is not None:
            left.remove(batch.died_at)
            problems.append(_died(inventory, batch.died_at, batch.death))
    return {name: rendered[name] for name in inventory.hosts if name in rendered}, fold_failures(problems)


def _died(inventory: Inventory, name: str, reason: str) -> Problem:
    host = inventory.hosts[name]
    message = f"host {name} is not rendered: {reason}; look at the templates of its files for a loop without an end"
    return Problem(TEMPLATE_CODE, Severity.ERROR, message, host.location, (), (name,))


@dataclass
class _Batch:
    """One child and the hosts that it is to render."""

    inventory: Inventory
    peers: Peers
    template_folder: Path | None
    programs: Mapping[str, Program]
    names: tuple[str, ...]
    limits: Limits
    meanwhile: Callable[[], object] | None = None
    died_at: str | None = None
    death: str = ""

    def results(self) -> Iterator[wire.Result]:
        """Each host's result as it comes; afterwards `died_at` says which host killed the child."""
        reader, child = self._fork()
        current: str | None = None
        ended = False
        said = ""
        try:
            if self.meanwhile is not None:
                self.meanwhile()
            for message in self._messages(reader):
                if "begin" in message:
                    current = message["begin"]
                elif "host" in message:
                    current = None
                    yield wire.decode_result(message, self.programs)
                elif "failure" in message:
                    raise TemplateError(f"rendering failed, and no template is at fault: {message['failure']}")
                else:
                    ended = True
        except TimeoutError:
            said = f"it did nothing for {self.limits.silent_s:g} s"
        finally:
            os.close(reader)
            status = _end(child)
        if ended:
            return
        self.death = said or self._explain(status)
        if current is None:
            raise TemplateError(f"rendering ended before its first host: {self.death}")
        self.died_at = current

    def _fork(self) -> tuple[int, int]:
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # The child runs templates and this module only: no lock that another thread holds is asked for.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os.close(reader)
            self._work(writer)
        os.close(writer)
        return reader, child

    def _work(self, writer: int) -> NoReturn:
        """In the child: never returns into the caller's stack, runs none of its clean-up."""
        status = 1
        try:
            _set_limits(self.limits)
            with os.fdopen(writer, "wb") as pipe:
                self._render_to(pipe)
            status = 0
        except BaseException:  # noqa: BLE001, S110 - the parent sees the missing end and the status
            pass
        os._exit(status)

    def _render_to(self, pipe: Any) -> None:
        try:
            session, render = begin_hosts(self.inventory, self.peers, self.template_folder, self.programs)
            for name in self.names:
                _allow_more(self.limits.cpu_s_per_host)
                pipe.write(wire.encode_begin(name))
                pipe.flush()
                host, problems = render(session, self.inventory.hosts[name])
                pipe.write(wire.encode_result((name, host, problems)))
            pipe.write(wire.encode_end())
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - told to the parent, which raises it there
            pipe.write(wire.encode_failure(f"{type(error).__name__}: {error}"))

    def _messages(self, reader: int) -> Iterator[dict[str, Any]]:
        rest = bytearray()
        while True:
            ready, _, _ = select.select([reader], [], [], self.limits.silent_s)
            if not ready:
                raise TimeoutError
            chunk = os.read(reader, _CHUNK_BYTES)
            if not chunk:
                return
            rest += chunk
            if len(rest) > _MAX_LINE_BYTES:
                raise TemplateError("a host's files are larger than fleet takes")
            *lines, last = rest.split(b"\n")
            rest = bytearray(last)
            for line in lines:
                yield json.loads(line)

    def _explain(self, status: int) -> str:
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number == signal.SIGXCPU:
                return f"its templates took more than {self.limits.cpu_s_per_host} s of processor time"
            return f"its templates ended the rendering process with {signal.Signals(number).name}"
        return f"its templates needed more than {self.limits.memory_bytes // 1024**2} MB of memory"


def _set_limits(limits: Limits) -> None:
    """The child's own: no core file, bounded memory, and the CPU limit kills whatever handler stood there."""
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    held = _address_space_bytes()
    if held is not None:
        soft = held + limits.memory_bytes
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or soft < hard:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space_bytes() -> int | None:
    """What the child inherited (proc(5), statm); None where the kernel does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return None
    return pages * resource.getpagesize()


def _allow_more(cpu_s: int) -> None:
    """From now on so much CPU time and no more, to the second that the kernel counts in."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + cpu_s + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _end(child: int) -> int:
    """The child's status; one that still runs (its words were not wanted any more) is killed first."""
    pid, status = os.waitpid(child, os.WNOHANG)
    for _ in range(50):
        if pid != 0:
            return status
        select.select([], [], [], 0.001)  # it has said its last word, and is about to end
        pid, status = os.waitpid(child, os.WNOHANG)
    if pid == 0:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    return status
