"""The hospital's folder: inventory, keys, and one folder a host; all that is kept lies in it."""

import os
import re
from dataclasses import dataclass
from importlib.resources import files
from io import StringIO
from pathlib import Path
from string import Template

import paramiko

from fleet.demo.ports import choose_ports
from fleet.demo.userland_server import write_stub

# Who listens where; SSH and DICOM of a machine share its address.
MACHINES = {"pacs_1": "127.0.20.11", "longterm_1": "127.0.20.12", "ris_1": "127.0.20.13"}
BOXES = {"ct_1": "127.0.20.31", "floor_1": "127.0.20.41", "floor_2": "127.0.20.42"}
PROGRAMS = ("/usr/bin/systemctl", "/usr/bin/dcmqrscp", "/usr/bin/wlmscpfs")
_FOLDERS = ("etc/systemd/system", "lib/systemd/system", "var/lib", "bin", "run")
_FILES = ("fleet.yml", "machines.yml", "boxes.yml")


class _Blanks(Template):
    """`@name` in the packaged inventory: ports and keys that nobody knows before they are made."""

    delimiter = "@"


@dataclass(frozen=True, slots=True)
class Hospital:
    """Where everything lies."""

    folder: Path

    @property
    def inventory(self) -> Path:
        """What fleet reads."""
        return self.folder / "inventory"

    @property
    def history(self) -> Path:
        """What fleet remembers."""
        return self.folder / "history.sqlite"

    @property
    def identity(self) -> Path:
        """fleet's private key."""
        return self.folder / "keys" / "fleet"

    def host_key(self, host: str) -> Path:
        """A host's private key."""
        return self.folder / "keys" / host

    def root(self, host: str) -> Path:
        """The folder that is a host's root."""
        return self.folder / "hosts" / host

    def screen(self, box: str) -> Path:
        """The images that a box shows."""
        return self.folder / "screens" / box


def make_hospital(folder: Path) -> Hospital:
    """Build it in a folder that is empty, or not there yet."""
    hospital = Hospital(folder.resolve())
    for part in (hospital.inventory, hospital.folder / "keys"):
        part.mkdir(parents=True)
    _write_key(hospital.identity)
    blanks = {"identity_file": str(hospital.identity), "user": _choose_user()}
    ssh = choose_ports({f"{name}_ssh": address for name, address in MACHINES.items()})
    dicom = choose_ports({**MACHINES, **BOXES})
    blanks |= {name: str(port) for name, port in (ssh | dicom).items()}
    for name in MACHINES:
        host = name.replace("_", "-")
        blanks[f"{name}_key"] = _write_key(hospital.host_key(host))
        _make_root(hospital.root(host))
    for name in _FILES:
        text = files("fleet.demo").joinpath("hospital", name).read_text("utf-8")
        (hospital.inventory / name).write_text(_Blanks(text).substitute(blanks), "utf-8")
    return hospital


def _choose_user() -> str:
    """Who runs the servers: fleet run as root gives folders to that user, so it must be one that there is."""
    return "root" if os.getuid() == 0 else "dicom"


def _write_key(path: Path) -> str:
    """A new key; returns the line that pins it."""
    key = paramiko.ECDSAKey.generate()
    text = StringIO()
    key.write_private_key(text)
    path.touch(0o600)
    path.write_text(text.getvalue(), "ascii")
    return f"{key.get_name()} {key.get_base64()}"


def _make_root(root: Path) -> None:
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    (root / "bin" / "sh").symlink_to("/bin/sh")
    for program in PROGRAMS:
        write_stub(root, program)


def edit_title(hospital: Hospital, box: str, ae_title: str) -> tuple[str, str, str]:
    """A colleague's edit of boxes.yml: another title for a box. Returns the file's name, and it before and after."""
    path = hospital.inventory / "boxes.yml"
    before = path.read_text("utf-8")
    after = re.sub(rf"ae_title: \S+(\n\s+name: {re.escape(box)}\n)", rf"ae_title: {ae_title}\1", before)
    path.write_text(after, "utf-8")
    return f"inventory/{path.name}", before, after
