"""Every figure that the README claims, as ratios from one run on this machine.

usage: python -m benchmarks.run [--write] [--only WORD]      (some minutes; `make bench`; as root for the rows of apply)

With --write the README's table is replaced by this run's, with --only the rows of the benchmarks whose names hold WORD:
no figure there is typed by hand.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.apply import measure_apply
from benchmarks.figures import Figure, Unmeasured
from benchmarks.generated import write_fleet
from benchmarks.measure import compare, fleet_command, python_command, run_once
from benchmarks.relay import measure_relay
from benchmarks.sweep import BENCHMARKS as SWEEPS

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
YAML_LOAD = (
    "import sys, pathlib, yaml\n"
    "for path in sorted(pathlib.Path({folder!r}).rglob('*.yml')):\n"
    "    yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)\n"
)


def measure_start(_folder: Path) -> Iterator[Figure]:
    """How long one waits for the help page."""
    ours, bare = compare(fleet_command("--help"), python_command("pass"), rounds=15)
    yield Figure("`fleet --help` to `python -c pass`, wall", ours.wall_s / bare.wall_s, 9, "×")
    yield Figure("the same in CPU", ours.cpu_s / bare.cpu_s, 9, "×")


def measure_validate(folder: Path) -> Iterator[Figure]:
    """10,000 entities: against the bare YAML load of the same files, in memory, and twice as many."""
    ten, twenty = folder / "ten", folder / "twenty"
    write_fleet(ten, 100, 100)
    write_fleet(twenty, 200, 100)
    validate = fleet_command("validate", "-q", "-i", str(ten))
    ours, bare = compare(validate, python_command(YAML_LOAD.format(folder=str(ten))), rounds=5)
    yield Figure("validate 10,000 entities to `yaml.load` of the same files, CPU", ours.cpu_s / bare.cpu_s, 2.5, "×")
    yield Figure("memory of that validation", ours.peak_bytes / 1e6, 400, "MB")
    double, single = compare(fleet_command("validate", "-q", "-i", str(twenty)), validate, rounds=3)
    yield Figure("20,000 entities to 10,000, CPU", double.cpu_s / single.cpu_s, 2.2, "×")


def measure_render(folder: Path) -> Iterator[Figure]:
    """1,000 hosts of 500 sites with ten entities each, whole process with reading and writing the files."""
    inventory = folder / "thousand"
    write_fleet(inventory, 500, 10)
    cost = run_once(fleet_command("render", "-q", "-i", str(inventory), "-d", str(folder / "out")))
    yield Figure("rendering 1,000 hosts, CPU for each ten", cost.cpu_s / 100, 0.1, "s")
    yield Figure("memory of that rendering", cost.peak_bytes / 1e6, 400, "MB")


BENCHMARKS: tuple[Callable[[Path], Iterator[Figure | Unmeasured]], ...] = (
    measure_start,
    measure_validate,
    measure_render,
    *SWEEPS.values(),
    measure_apply,
    measure_relay,
)


def main(arguments: Sequence[str]) -> int:
    """Run all and print a table; exit status 1 when a bound is missed."""
    only = arguments[arguments.index("--only") + 1] if "--only" in arguments else ""
    chosen = [each for each in BENCHMARKS if only in each.__name__]
    missed = False
    lines = ["| what | measured | bound | |", "|---|---|---|---|"]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        for benchmark in chosen:
            for figure in benchmark(Path(folder)):
                lines.append(str(figure))
                print(figure, flush=True)
                missed = missed or not figure.is_met
    if "--write" in arguments:
        write_table(README, lines if not only else merge(read_table(README), lines))
    return int(missed)


def merge(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """The old rows, each replaced by the new one of its name, and the further new ones behind them."""
    fresh = {row.split("|")[1]: row for row in new}
    merged = [fresh.pop(row.split("|")[1], row) for row in old]
    return [*merged, *fresh.values()]


def read_table(path: Path) -> list[str]:
    """The rows between the README's two marks, with their head."""
    inside = path.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    return inside.strip().splitlines()


def write_table(path: Path, table: Sequence[str]) -> None:
    """Put a table between the README's two marks."""
    rows = "\n".join(table)
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has not both marks {BEGIN} and {END}")
    path.write_text(f"{before}{begin}\n{rows}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
