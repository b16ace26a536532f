"""The speed of apply: real hosts, five files each and a handler, everything switched on.

    python -m benchmarks.apply [ROUNDS]      (as root, where a lab can stand; see tests/lab/needs.py)

All in one run on the same hosts and in turn, so that a machine that slows down slows everybody; medians. What fleet
is compared with is OpenSSH's own client, logging in to the same hosts at once to do nothing, and the two managers of
benchmarks/peers.py doing the same.
"""

import contextlib
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figure, Unmeasured
from benchmarks.peers import Peers, cache_folder, install_peers, read_versions
from tests.lab.hospital import FLEET
from tests.lab.laboratory import Lab
from tests.lab.needs import find_missing_needs
from tests.lab.python_layer import open_python_layer

HOSTS = 20
ROUNDS = 5
FILES = ("one.conf", "two.conf", "three.conf", "four.conf", "five.conf")
AE_PORT = 11112
WHAT = f"changing five files with a handler on {HOSTS} hosts"

FLEET_YML = """\
fleet:
  name: bench
  controllers: [10.0.0.5]
  vars: {revision: "0"}
  defaults: {ssh: {user: fleet, become: sudo}, verify: {calling: FLEET_SCU}}
probers: [{ae_title: FLEET_SCU, addresses: [10.0.0.5]}]
"""


@dataclass
class Bench:
    """The hosts, the inventory that they follow, and the seconds that each way to change them took."""

    lab: Lab
    peers: Peers
    folder: Path
    revision: int = 0
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def prepare(self) -> None:
        """An AE on every host that answers, the inventory, and everybody's first apply, which is not measured."""
        for host in self.lab.hosts.values():
            host.run("mkdir -p /etc/bench-ansible /etc/bench-pyinfra /srv/inbox", check=True)
            server = f"/usr/bin/storescp --fork -aet {title(host.name)} -od /srv/inbox {AE_PORT}"
            host.run(f"systemd-run --quiet --collect --unit=storescp {server}", check=True)
        self.folder.mkdir(parents=True)
        self.peers.prepare()
        inventory = self.folder / "inventory"
        (inventory / "templates").mkdir(parents=True)
        lines = [FLEET_YML, "site: bench", "hosts:"]
        lines += [
            f'  {host.name}: {{address: {host.address}, host_keys: ["{host.host_key}"]}}'
            for host in self.lab.hosts.values()
        ]
        lines.append("entities:")
        for host in self.lab.hosts.values():
            where = f"instances: [{{host: {host.name}, port: {AE_PORT}}}], run: {{engine: none}}"
            name = title(host.name)
            lines.append(f"  - {{ae_title: {name}, kind: workstation, provides: [verification], {where}}}")
        lines.append("files:")
        for name in FILES:
            handler = 'handler: "echo ran >>/run/bench-fleet"'
            lines.append(f"  - {{template: templates/{name}, path: /etc/bench-fleet/{name}, where: all, {handler}}}")
        (inventory / "fleet.yml").write_text("\n".join(lines) + "\n", encoding="ascii")
        self.write_next()

    def write_next(self) -> None:
        """Other contents for all five files, for everybody."""
        self.revision += 1
        for name in FILES:
            text = f"# {name}, revision {self.revision}\n" + "".join(f"key-{n} = value of {n}\n" for n in range(60))
            (self.folder / name).write_text(text, encoding="ascii")
            (self.folder / "inventory/templates" / name).write_text(text, encoding="ascii")

    def run(self, what: str, command: Sequence[str]) -> str:
        """Measured under its name; raises when it fails."""
        started = time.perf_counter()
        done = self.lab.controller.run(command, timeout_s=120)
        self.seconds[what].append(time.perf_counter() - started)
        if done.returncode:
            raise RuntimeError(f"{what} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-3000:]}")
        return done.stdout

    def apply(self, *more: str) -> list[str]:
        """`fleet apply`, everything at once."""
        words = ["-i", str(self.folder / "inventory"), "--history", str(self.folder / "history.sqlite")]
        return [str(FLEET), "apply", "--yes", "--serial", "100%", "--hold-down", "0s", *words, *more]

    def median(self, what: str) -> float:
        return statistics.median(self.seconds[what])

    def check(self, manager: str) -> None:
        """Every host holds the revision, and the handler ran once for it."""
        for host in self.lab.hosts.values():
            script = (
                f"cat /etc/bench-{manager}/*.conf | grep -c 'revision {self.revision}$'; wc -l </run/bench-{manager}"
            )
            held, ran = host.run(script, check=True).stdout.split()
            assert held == str(len(FILES)), (manager, host.name, held)
            assert ran == str(self.handled(manager)), (manager, host.name, ran)

    def handled(self, manager: str) -> int:
        """How often its handler must have run by now."""
        names = {"fleet": ("first", "change", "unconfirmed"), "ansible": ("ansible",), "pyinfra": ("pyinfra",)}
        return sum(len(self.seconds[name]) for name in names[manager])


def title(host: str) -> str:
    """The AE on a host."""
    return host.upper().replace("-", "_")


@contextlib.contextmanager
def open_bench(*, with_ansible: bool = True) -> Iterator[Bench]:
    """The lab with its hosts, each holding nothing of ours but an AE that answers."""
    cache = cache_folder()
    layers = [open_python_layer(cache)] if with_ansible else []
    programs = install_peers(cache) if with_ansible else Path()
    addresses = {f"bench-{number:02}": f"10.40.0.{number}" for number in range(1, HOSTS + 1)}
    with Lab(addresses, layers=layers) as lab:
        folder = lab.controller.home / "bench"
        bench = Bench(lab, Peers(lab, programs, folder), folder)
        bench.prepare()
        yield bench


def measure_apply(_folder: Path) -> Iterator[Figure | Unmeasured]:
    """All ratios of one run."""
    yield from measure_rounds(ROUNDS)


def measure_rounds(rounds: int) -> Iterator[Figure | Unmeasured]:
    """All ratios of one run, each way taken so often."""
    missing = find_missing_needs()
    if missing:
        yield Unmeasured(WHAT, f"the lab needs {'; '.join(missing)}")
        return
    with open_bench() as bench:
        bench.run("first", bench.apply())
        bench.run("ssh-first", bench.peers.ssh_true())
        for number in range(rounds):
            measure_one_round(bench, with_ansible=number < 3)
        yield from tell(bench)


def measure_one_round(bench: Bench, *, with_ansible: bool) -> None:
    """Everybody once."""
    bench.run("ssh", bench.peers.ssh_true())
    bench.write_next()
    bench.run("change", bench.apply())
    bench.check("fleet")
    bench.run("ssh", bench.peers.ssh_true())
    bench.run("nothing", bench.apply())
    bench.write_next()
    bench.run("unconfirmed", bench.apply("--no-confirm"))
    bench.check("fleet")
    bench.run("pyinfra", bench.peers.pyinfra())
    bench.check("pyinfra")
    if with_ansible:
        bench.run("ansible", bench.peers.ansible(bench.revision))
        bench.check("ansible")


def tell(bench: Bench) -> Iterator[Figure]:
    """The rows."""
    ssh = bench.median("ssh")
    versions = read_versions(bench.peers.programs)
    yield Figure(f"{WHAT}, to `ssh HOST true` at once ({ssh:.2f} s)", bench.median("change") / ssh, 2.0, "×")
    yield Figure("the same without confirmation", bench.median("unconfirmed") / ssh, 1.2, "×")
    yield Figure("the same with nothing to change", bench.median("nothing") / ssh, 1.0, "×")
    change = bench.median("change")
    ansible, pyinfra = bench.median("ansible"), bench.median("pyinfra")
    name = f"the change to ansible-core {versions['ansible-core']}'s {ansible:.1f} s, pipelining and 20 forks"
    yield Figure(name, ansible / change, 15, "×", at_least=True)
    yield Figure(
        f"the change to pyinfra {versions['pyinfra']}'s {pyinfra:.1f} s", pyinfra / change, 1, "×", at_least=True
    )


def main() -> int:
    """Print the rows; exit status 1 when a bound is missed."""
    missed = False
    for figure in measure_rounds(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS):
        print(figure, flush=True)
        missed = missed or not figure.is_met
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
