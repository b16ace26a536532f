"""Somebody who owns the folder swaps names in it while root stages and switches there (T28).

The very functions of the host's programs run in a loop, in one shell, while another process swaps; 2,000 rounds in
CI, 100,000 with FLEET_SOAK=1.
"""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleet.push.script import format_call, format_script
from tests.push.local_host import LocalTransport

ROUNDS = 100_000 if os.environ.get("FLEET_SOAK") == "1" else 2000
NOBODY = 65534
CONTENT = b"ours\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has anything to lose in other people's folders")

# In turn: a link to a folder of root's, a folder of the attacker's own, a link and a hard link to a file of root's.
ATTACKER = """
import os, random, sys, time
folder, victims = sys.argv[1], sys.argv[2]
os.chdir(folder)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
def quietly(call, *words):
    try:
        call(*words)
    except OSError:
        pass
def put_folder(name):
    os.mkdir(name, 0o700)
    os.mkdir(name + "/new")
    os.symlink(victims + "/x.cfg", name + "/new/x.cfg")
def drop(name):
    quietly(os.unlink, name + "/new/x.cfg")
    quietly(os.rmdir, name + "/new")
    quietly(os.rmdir, name)
    quietly(os.unlink, name)
rounds = 0
while True:
    for name, put in (
        (".fleet-stage", lambda name: os.symlink(victims, name)),
        (".fleet-stage", put_folder),
        ("x.cfg", lambda name: os.symlink(victims + "/x.cfg", name)),
        ("x.cfg", lambda name: os.link(victims + "/x.cfg", name)),
    ):
        quietly(os.rename, name, "aside")
        quietly(put, name)
        time.sleep(random.random() * 0.004)
        drop(name)
        quietly(os.rename, "aside", name)
        time.sleep(random.random() * 0.004)
        rounds += 1
        if rounds % 50 == 0:
            print(rounds, flush=True)
"""

LOOP = """
round=0 won=0
while [ $round -lt {rounds} ]; do
  round=$((round + 1))
  (failed= undo= folders= inside= armed= outside=/; {steps}; [ -z "$failed" ]) >/dev/null 2>&1 && won=$((won + 1))
done
say "rounds $round won $won"
"""


def state(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything of the victims'."""
    found = {}
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        found[path.name] = (seen.st_mode, seen.st_uid, seen.st_size, path.read_bytes() if path.is_file() else b"")
    return found


@needs_root
def test_whoever_swaps_names_while_root_works_gains_nothing(root: Path) -> None:  # T28
    folder, victims = root / "srv/service", root / "victims"
    folder.mkdir(parents=True)
    victims.mkdir(mode=0o700)
    for name in ("new", "old"):
        (victims / name).mkdir()
    for name in ("x.cfg", "new/x.cfg"):
        (victims / name).write_text("untouched\n")
        (victims / name).chmod(0o600)
    (folder / "x.cfg").write_bytes(CONTENT)
    (folder / "x.cfg").chmod(0o644)
    os.chown(folder, NOBODY, NOBODY)
    for path in (root, *root.parents):
        if path == Path("/tmp"):
            break
        path.chmod(0o755)
    before = state(victims)
    digest = hashlib.sha256(CONTENT).hexdigest()
    steps = [
        format_call("stage_in", 0, "/srv/service"),
        format_call("stage_text", 0, "x.cfg", CONTENT.decode()),
        format_call("stage_whole", "644", "root:root", 0, "x.cfg", digest),
        format_call("expect_files", "/srv/service", 0, "x.cfg", digest, "644", "root:root", digest),
        # Where the attacker has put something else there, the rest is tried all the same.
        '[ "$failed" != stale ] || failed=',
        format_call("keep_files", "/srv/service", 0, "x.cfg", "-"),
        format_call("rename_files", "/srv/service", 0, "x.cfg"),
    ]
    loop = LOOP.format(rounds=ROUNDS, steps="; ".join(steps))
    # Nobody's disk is in doubt here: a sync each round would cost the rounds.
    text = format_script("stage", ["begin", "mkdir -p $state", "sync_path() { :; }", loop], "switch")
    attacker = subprocess.Popen(
        [sys.executable, "-c", ATTACKER, str(folder), str(victims)], stdout=subprocess.PIPE, text=True
    )
    try:
        began = time.monotonic()
        said = LocalTransport(root).run_text(text.encode(), deadline_s=5400).stdout.decode().split()
        seconds = time.monotonic() - began
    finally:
        attacker.kill()
        swapped = attacker.communicate()[0].split()
    won = int(said[said.index("won") + 1])
    rate = f"{ROUNDS / seconds:.0f} rounds/s"
    sys.stdout.write(f"{ROUNDS} rounds, {won} of them won in spite of {swapped[-1]} swaps, {rate}\n")  # pytest -rP
    assert said[said.index("rounds") + 1] == str(ROUNDS)
    assert int(swapped[-1]) > ROUNDS / 10  # it was a race
    assert 0 < won < ROUNDS
    assert state(victims) == before
