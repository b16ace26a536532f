"""A folder that stands for a host: the real scripts, run by a real shell, with a stub for systemctl."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleet.errors import DeadlineExceeded, NetworkError
from fleet.inventory.model import Host
from fleet.push.script import Script
from fleet.push.transport import REPLY_LIMIT_BYTES, ByteStream, CommandResult, Transport

SYSTEMCTL = r"""#!/bin/sh
units=$FLEET_ROOT/units
mkdir -p "$units"
verb=$1; shift
while case ${1-} in --*) true ;; *) false ;; esac; do shift; done
unit=${1-}
echo "$verb $unit" >>"$units/log"
[ ! -e "$units/$unit.fails-to-$verb" ] || { echo "Job for $unit failed."; exit 1; }
case $verb in
  show)
    load=not-found
    for folder in etc/systemd/system lib/systemd/system; do
      [ ! -e "$FLEET_ROOT/$folder/$unit" ] || load=loaded
    done
    [ ! -e "$units/$unit.masked" ] || load=masked
    echo "LoadState=$load"
    if [ -e "$units/$unit.active" ]; then echo ActiveState=active; else echo ActiveState=inactive; fi
    if [ -e "$units/$unit.enabled" ]; then echo UnitFileState=enabled; else echo UnitFileState=disabled; fi
    echo NeedDaemonReload=no
    echo "NRestarts=$(cat "$units/$unit.deaths" 2>/dev/null || echo 0)"
    ;;
  enable) : >"$units/$unit.enabled" ;;
  start | restart) : >"$units/$unit.active" ;;
  stop) rm -f "$units/$unit.active" ;;
  disable) rm -f "$units/$unit.enabled" "$units/$unit.active" ;;
esac
exit 0
"""


def make_root(folder: Path) -> Path:
    """A host's folder with /etc, /var and a systemctl."""
    for name in ("etc/systemd/system", "lib/systemd/system", "var/lib", "usr/bin", "usr/sbin"):
        (folder / name).mkdir(parents=True)
    stub = folder / "usr/bin/systemctl"
    stub.write_text(SYSTEMCTL)
    stub.chmod(0o755)
    return folder


@dataclass
class LocalTransport:
    """Runs scripts in a folder; `shell` says by which shell, `scripts` remembers what ran."""

    root: Path
    shell: Sequence[str] = ("/bin/sh",)
    wrapper: Sequence[str] = ()
    scripts: list[Script] = field(default_factory=list)
    is_open: bool = True

    def run_script(
        self,
        script: Script,
        *,
        deadline_s: float,
        limit_bytes: int = REPLY_LIMIT_BYTES,
        become: bool | None = None,
    ) -> CommandResult:
        self.scripts.append(script)
        return self.run_text(script.text.encode(), deadline_s=deadline_s)

    def run_text(self, text: bytes, *, deadline_s: float = 30.0) -> CommandResult:
        """Any bytes as a script: also half of one."""
        try:
            done = subprocess.run(
                [*self.wrapper, *self.shell, "-s"],
                input=text,
                capture_output=True,
                timeout=deadline_s,
                check=False,
                env={"FLEET_ROOT": str(self.root), "PATH": os.environ["PATH"]},
            )
        except subprocess.TimeoutExpired as error:
            raise DeadlineExceeded(f"no answer within {deadline_s:g} s", phase="session") from error
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def open_channel(self, address: str, port: int, *, deadline_s: float) -> ByteStream:
        raise NetworkError("a folder opens no channels", phase="tunnel")

    def close(self) -> None:
        self.is_open = False


@dataclass
class LocalConnector:
    """Folders by host name."""

    roots: dict[str, Path]

    def open_(self, host: Host, *, deadline_s: float) -> Transport:
        if host.name not in self.roots:
            raise NetworkError(f"{host.name}: nobody there within {deadline_s:g} s", phase="connect")
        return LocalTransport(self.roots[host.name])
