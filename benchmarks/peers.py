"""What apply is compared with: OpenSSH, Ansible and pyinfra, doing the same on the same hosts.

Ansible and pyinfra live in a virtual environment of their own below the project's cache folder, in whatever version
the package index has; what was measured is told with the figures. Ansible needs a Python on the hosts, which the
lab's hosts have not: they get Debian's as one more layer below their disks (tests/lab/python_layer.py).
"""

import importlib.metadata
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.lab.laboratory import Lab
from tests.lab.root_folder import LOGIN_USER

DISTRIBUTIONS = ("ansible-core", "pyinfra")

ANSIBLE_CONFIG = """\
[defaults]
forks = 20
gathering = explicit
host_key_checking = True
interpreter_python = /usr/bin/python3
[ssh_connection]
pipelining = True
ssh_args = -C -o ControlMaster=auto -o ControlPersist=60s -o UserKnownHostsFile={known_hosts}
"""

PLAYBOOK = """\
- hosts: all
  gather_facts: false
  become: true
  tasks:
    - copy: {src: "FOLDER/{{ item }}", dest: "/etc/bench-ansible/{{ item }}", mode: "0644", owner: root, group: root}
      loop: [one.conf, two.conf, three.conf, four.conf, five.conf]
      notify: afterwards
  handlers:
    - name: afterwards
      command: /bin/sh -c "echo ran >>/run/bench-ansible"
"""

DEPLOY = """\
from pyinfra.operations import files, server

put = [
    files.put(
        name=name, src="FOLDER/" + name, dest="/etc/bench-pyinfra/" + name, user="root", group="root", mode="644",
        _sudo=True,
    )
    for name in ("one.conf", "two.conf", "three.conf", "four.conf", "five.conf")
]
server.shell(
    name="afterwards", commands=["echo ran >>/run/bench-pyinfra"], _sudo=True,
    _if=lambda: any(each.did_change() for each in put),
)
"""


def install_peers(cache: Path) -> Path:
    """The folder of their programs; made once."""
    folder = cache / "peers" / f"python-{sys.version_info.major}.{sys.version_info.minor}"
    programs = folder / "bin"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, timeout=120)
        pip = [str(programs / "pip"), "install", "--quiet", "--disable-pip-version-check", *DISTRIBUTIONS]
        subprocess.run(pip, check=True, timeout=600, capture_output=True)
        (folder / "complete").touch()
    return programs


def read_versions(programs: Path) -> dict[str, str]:
    """What was installed."""
    places = [str(path) for path in programs.parent.glob("lib/python*/site-packages")]
    found = importlib.metadata.distributions(path=places)
    return {each.name: each.version for each in found if each.name in DISTRIBUTIONS}


@dataclass(frozen=True, slots=True)
class Peers:
    """The other ways to do it, from the lab's controller; `folder` is where their files lie."""

    lab: Lab
    programs: Path
    folder: Path

    def prepare(self) -> None:
        """Known hosts and playbooks."""
        lines = [f"{host.address} {host.host_key}\n" for host in self.lab.hosts.values()]
        self._write("known_hosts", "".join(lines))
        self._write("ansible.cfg", ANSIBLE_CONFIG.format(known_hosts=self.folder / "known_hosts"))
        key = self.lab.identity_file
        rows = [
            f"{name} ansible_host={host.address} ansible_user={LOGIN_USER} ansible_ssh_private_key_file={key}\n"
            for name, host in self.lab.hosts.items()
        ]
        self._write("hosts.ini", "".join(rows))
        self._write("site.yml", PLAYBOOK.replace("FOLDER", str(self.folder)))
        known = {"ssh_known_hosts_file": str(self.folder / "known_hosts"), "ssh_strict_host_key_checking": "yes"}
        data = {"ssh_user": LOGIN_USER, "ssh_key": str(key), **known}
        names = [(host.address, data) for host in self.lab.hosts.values()]
        self._write("hosts.py", f"fleet = {names!r}\n")
        self._write("deploy.py", DEPLOY.replace("FOLDER", str(self.folder)))
        options = (
            f"-F none -i {key} -o BatchMode=yes -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=/dev/null "
            f"-o UserKnownHostsFile={self.folder / 'known_hosts'}"
        )
        hosts = list(self.lab.hosts.values())
        calls = [f"ssh {options} {LOGIN_USER}@{host.address} true & p{n}=$!" for n, host in enumerate(hosts)]
        waits = [f"wait $p{n} || failed=1" for n in range(len(hosts))]
        self._write("ssh.sh", "\n".join(["failed=0", *calls, *waits, "exit $failed\n"]))

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def ssh_true(self) -> list[str]:
        """OpenSSH's own client to every host at once."""
        return ["sh", str(self.folder / "ssh.sh")]

    def ansible(self, number: int) -> list[str]:
        """`ansible-playbook` with pipelining and as many forks as there are hosts.

        Within a run its tasks share connections; like everybody else here, a run begins with none: those that the
        run before left open for a minute lie in another folder.
        """
        config = f"ANSIBLE_CONFIG={self.folder / 'ansible.cfg'}"
        masters = f"ANSIBLE_SSH_CONTROL_PATH_DIR={self.lab.controller.home / f'cp{number}'}"  # short: unix(7), sun_path
        play = ["-i", str(self.folder / "hosts.ini"), str(self.folder / "site.yml")]
        return ["env", config, masters, str(self.programs / "ansible-playbook"), *play]

    def pyinfra(self) -> list[str]:
        """pyinfra, every host at once."""
        words = [str(self.folder / "hosts.py"), str(self.folder / "deploy.py"), "--yes", "--parallel", "20"]
        return [str(self.programs / "pyinfra"), *words]


def cache_folder() -> Path:
    """The project's own."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dicom-fleet"
