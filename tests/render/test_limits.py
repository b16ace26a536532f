"""A template that knows no bounds costs its own host, in bounded time and memory (T13)."""

import contextlib
import os
import resource
import threading
import time
from pathlib import Path

import pytest

from fleet.errors import TemplateError
from fleet.render import limits as module
from fleet.render.hosts import render_fleet
from fleet.render.limits import Limits, render_fleet_limited
from tests.render.building import EXAMPLE as EXAMPLE_FOLDER
from tests.render.building import PROGRAMS, Built, build, read_inventory

TWO_HOSTS = """\
fleet: {name: test}
site: north
hosts:
  bad: {address: 10.0.0.1}
  good: {address: 10.0.0.2}
entities: []
files:
  - {template: bad.j2, path: /etc/bad, where: bad}
  - {template: good.j2, path: /etc/good, where: good}
"""
QUICK = Limits(cpu_s_per_host=1)


def two_hosts(folder: Path, source: str) -> Built:
    return build(folder, TWO_HOSTS, bad__j2=source, good__j2="fine\n")


LOOP, END = "{% for i in range(9999) %}", "{% endfor %}"
ENDLESS = {
    "loops": LOOP * 3 + END * 3,
    "text": f"{{% set n = namespace(t='x') %}}{LOOP}{{% set n.t = n.t ~ n.t ~ n.t %}}{END}",
    "lists": f"{{% set n = namespace(t=[1]) %}}{LOOP}{{% set n.t = [n.t, n.t] %}}{END}{{{{ n.t|string }}}}",
    "output": LOOP * 2 + "x" * 100 + END * 2,
    "sort": LOOP + "{{ range(99999)|sort(reverse=true)|sum }}" + END,
}


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_is_ended_and_the_next_host_is_rendered(source: str, tmp_path: Path) -> None:
    built = two_hosts(tmp_path, source)
    began = time.monotonic()
    rendered, problems = render_fleet_limited(built.inventory, built.peers, limits=QUICK)
    assert time.monotonic() - began < 60
    assert list(rendered) == ["good"]
    assert [problem.code for problem in problems] == ["template-failed"]
    assert "host bad" in problems[0].message
    assert str(problems[0].location).startswith(str(tmp_path / "fleet.yml"))


def test_every_snippet_of_the_list_ends_within_its_host_s_limit(tmp_path: Path) -> None:
    # T13: what the sandbox refuses costs nothing; the child is for the rest.
    for number, source in enumerate(
        ("{{ 'x'*10**8 }}", "{{ 10**(10**8) }}", "{{ range(100001)|list }}", "{{ lipsum(1000) }}")
    ):
        built = two_hosts(tmp_path / str(number), source)
        used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        rendered, problems = render_fleet_limited(built.inventory, built.peers, limits=QUICK)
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used < 1
        assert (list(rendered), len(problems)) == (["good"], 1)


def test_the_limited_rendering_is_the_same_as_the_free_one() -> None:
    built = read_inventory(EXAMPLE_FOLDER)
    free = render_fleet(built.inventory, built.peers, programs=PROGRAMS)
    limited = render_fleet_limited(built.inventory, built.peers, programs=PROGRAMS)
    assert limited == free
    assert list(limited[0]) == list(built.inventory.hosts)


def test_problems_come_back_whole(tmp_path: Path) -> None:
    built = two_hosts(tmp_path, "{{ nothing }}")
    assert render_fleet_limited(built.inventory, built.peers) == render_fleet(built.inventory, built.peers)


def test_only_the_wanted_hosts_are_rendered(tmp_path: Path) -> None:
    built = two_hosts(tmp_path, "{{ nothing }}")
    rendered, problems = render_fleet_limited(built.inventory, built.peers, only={"good"})
    assert (list(rendered), problems) == (["good"], ())
    assert render_fleet_limited(built.inventory, built.peers, only=set()) == ({}, ())


def test_a_child_leaves_nothing_behind(tmp_path: Path) -> None:
    built = two_hosts(tmp_path, ENDLESS["loops"])
    before, children = set(Path("/proc/self/fd").iterdir()), find_children()
    render_fleet_limited(built.inventory, built.peers, limits=QUICK)
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert find_children() <= children


def find_children() -> set[int]:
    """The processes that this one has started and not yet waited for (proc_pid_stat(5), field 4)."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.add(int(path.parent.name))
    return found


def test_it_works_beside_other_threads(tmp_path: Path) -> None:
    built = two_hosts(tmp_path, "fine\n")
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        rendered, problems = render_fleet_limited(built.inventory, built.peers)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert (set(rendered), problems) == ({"bad", "good"}, ())


def test_a_fault_of_ours_is_no_host_s_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = two_hosts(tmp_path, "fine\n")

    def fail(*_: object) -> None:
        raise LookupError("ours")

    monkeypatch.setattr(module, "begin_hosts", fail)
    with pytest.raises(TemplateError, match="no template is at fault: LookupError: ours"):
        render_fleet_limited(built.inventory, built.peers)


def test_a_silent_child_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = two_hosts(tmp_path, "fine\n")

    def sleep(_session: object, host: object) -> object:
        if getattr(host, "name", "") == "bad":
            time.sleep(60)
        return None, ()

    monkeypatch.setattr(module, "begin_hosts", lambda *_: (None, sleep))
    _, problems = render_fleet_limited(built.inventory, built.peers, limits=Limits(silent_s=0.3))
    assert [problem.subjects for problem in problems] == [("bad",)]
    assert "did nothing for 0.3 s" in problems[0].message
