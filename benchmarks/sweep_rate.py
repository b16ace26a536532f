"""The sweep's rate against a C client's, both against the same C responder, as a ratio from one run.

    python benchmarks/sweep_rate.py RESPONDER CLIENT [--targets 20000] [--rounds 5]

RESPONDER answers C-ECHO on 200 ports from 20000 on, on every address of 127.0.0.0/8; CLIENT takes the
number of dialogues and how many run at once, and prints a line that ends in "= RATE/s". The two
take turns, and the best round of each counts: what else the machine does only ever slows a round down.
"""

import argparse
import json
import re
import resource
import subprocess
import time

from fleet.verify.settings import SweepSettings
from fleet.verify.sweep import sweep
from fleet.verify.values import EchoTarget, Outcome

FIRST_PORT, PORTS = 20_000, 200
IN_FLIGHT = 200


def make_targets(count: int) -> list[EchoTarget]:
    """Targets on addresses of their own, so that the brake for one address is not what is measured."""
    return [
        EchoTarget(
            f"AE{number % 5000}",
            f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}",
            FIRST_PORT + number % PORTS,
            "FLEET_SCU",
        )
        for number in range(count)
    ]


def measure_ours(targets: list[EchoTarget]) -> tuple[float, float]:
    """Return dialogues a second, without and with the results as JSON."""
    started = time.monotonic()
    results = sweep(targets, SweepSettings(max_associations=IN_FLIGHT, seed=1))
    swept = time.monotonic()
    json.dumps([result.to_json() for result in results])
    printed = time.monotonic()
    answered = sum(result.outcome is Outcome.ANSWERED for result in results)
    assert answered == len(targets), f"only {answered} of {len(targets)} answered: is the responder alone on its ports?"
    return len(targets) / (swept - started), len(targets) / (printed - started)


def measure_client(path: str, count: int) -> float:
    done = subprocess.run([path, str(count), str(IN_FLIGHT)], capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"= (\d+)/s", done.stdout)
    assert found is not None, done.stdout
    return float(found.group(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("responder")
    parser.add_argument("client")
    parser.add_argument("--targets", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    targets = make_targets(asked.targets)
    responder = subprocess.Popen([asked.responder, str(FIRST_PORT), str(PORTS)])
    try:
        time.sleep(0.5)
        rounds = [(measure_client(asked.client, asked.targets), *measure_ours(targets)) for _ in range(asked.rounds)]
    finally:
        responder.kill()
        responder.wait()
    client, ours, with_json = (max(column) for column in zip(*rounds, strict=True))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"C client          {client:8.0f} dialogues a second")
    print(f"sweep             {ours:8.0f}  ratio {ours / client:.2f} (at least 0.40)")
    print(f"sweep and JSON    {with_json:8.0f}  ratio {with_json / client:.2f} (at least 0.30)")
    print(f"memory at most    {memory:8.0f} MB for {asked.targets} targets")


if __name__ == "__main__":
    main()
