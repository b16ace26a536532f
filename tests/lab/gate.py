"""The lab's gateway: a relay that `fleet apply` put on a host of its own, an archive and a receiver by TLS on another,
and the vendor's box for second copies. Modalities send from the controller's place."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import dcmread

from fleet.relay.forward.outbound import AssociationFailed, Outbound, Parcel
from fleet.relay.forward.senders import read_data_set_offset
from fleet.relay.values import Destination, Endpoint
from fleet.targets.relay import PROGRAM, PYTHON
from tests.lab.hospital import Hospital, wait_until
from tests.lab.hosts import LabHost
from tests.lab.images import KINDS, Digests, find_files, read_digests
from tests.lab.laboratory import Lab, read_cache_folder
from tests.lab.python_layer import open_python_layer

ADDRESS, STORES = "10.40.0.11", "10.40.0.12"
PORT, SECURE_PORT, SAFE_PORT = 11112, 11113, 2762
UNIT = "fleet-relay-GATE.service"
CONFIG = "/etc/fleet/relay-GATE.json"
SPOOL = "/var/spool/fleet/relay-GATE"
PACS_UNIT = "fleet-dcmqrscp-GATE_PACS.service"
PACS_FOLDER, SAFE_FOLDER = "/var/lib/dcmtk/GATE_PACS", "/srv/safe"
ORTHANC_FOLDER = "/var/lib/orthanc/db-v6"
SAFE_NAME = "safe.gate.example"
UID_ROOT = "1.2.826.0.1.3680043.10."
Read = Callable[[Sequence[Path]], Digests]

INVENTORY = """\
fleet:
  name: lab-gate
  controllers: [10.0.0.5]
  defaults:
    ssh: {user: fleet, become: sudo}
    verify: {calling: FLEET_SCU, timeouts: {connect: 2s, acse: 3s, dimse: 3s, total: 6s}}
site: gate
hosts:
  gate-1: {address: 10.40.0.11, host_keys: ["@gate-1"]}
  gate-2: {address: 10.40.0.12, host_keys: ["@gate-2"]}
probers:
  - {ae_title: FLEET_SCU, addresses: [10.0.0.5]}
certificates:
  gate-ca: {ca_file: ca.pem}
  gate: {cert_file: server.pem, key: server.key}
entities:
  - {ae_title: GATE, kind: relay, provides: [verification, storage], instances: [{host: gate-1, port: 11112}],
     run: {engine: relay, drain_timeout: 5s}}
  - {ae_title: GATE_TLS, kind: relay, provides: [verification, storage], instances: [{host: gate-1, port: 11113}],
     tls: {verify: {ca: gate-ca, name: safe.gate.example}},
     run: {engine: relay, drain_timeout: 5s, tls: {certificate: gate}}}
  - ae_title: GATE_PACS
    kind: archive
    provides: [verification, storage, query-retrieve]
    instances: [{host: gate-2, port: 11112}]
    run: {engine: dcmqrscp, storage_area: /var/lib/dcmtk/GATE_PACS, access: RW, max_studies: 500,
          max_bytes_per_study: 1024mb, deletes_oldest: accepted, drain_timeout: 2s,
          options: ["-xf", /srv/profile.cfg, AllIn, AllOut]}
  - {ae_title: VENDOR_BOX, kind: archive, address: 10.20.6.10, port: 4242, provides: [verification, storage]}
  - {ae_title: GATE_SAFE, kind: archive, address: 10.40.0.12, provides: [verification, storage],
     tls: {port: 2762, verify: {ca: gate-ca, name: safe.gate.example}}}
  - {ae_title: GATE_CT, kind: modality, modality: CT, address: 10.0.0.5, listens: false}
flows:
  - {from: GATE_CT, to: "GATE, GATE_TLS", services: [storage]}
  - {from: "GATE, GATE_TLS", to: "GATE_PACS, VENDOR_BOX, GATE_SAFE", services: [storage]}
waivers:
  - {code: target-limitation, where: GATE_PACS, reason: "the vendor's box holds a second copy", until: "2035-12-31"}
relays:
  - entity: "GATE, GATE_TLS"
    timezone: Europe/Amsterdam
    routes:
      - {name: all, to: {primary: [{ae_title: GATE_PACS}], optional: [{ae_title: VENDOR_BOX}]}}
      - {name: safe, when: {modality: MR}, to: {primary: [{ae_title: GATE_SAFE}]}}
"""


@dataclass(frozen=True)
class Gate:
    """The relay's host, and everybody round it."""

    hospital: Hospital
    relay: LabHost
    stores: LabHost
    vendor: LabHost
    folder: Path  # the controller's: certificates, and what modalities send

    # -- the relay -----------------------------------------------------------------------------------------

    def ask(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb on the relay's host, by the program that fleet put there."""
        return self.relay.run([PYTHON, "-I", PROGRAM, verb, CONFIG, *words], timeout_s=60)

    def status(self) -> dict[str, Any]:
        done = self.ask("status", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def destination(self, title: str) -> dict[str, Any]:
        rows: list[dict[str, Any]] = self.status()["destinations"]
        return next(row for row in rows if row["destination"] == title)

    def main_pid(self, unit: str = UNIT) -> int:
        shown = self.relay.run(["systemctl", "show", "--property=MainPID", "--value", unit]).stdout
        return int(shown or 0)

    def is_ready(self, unit: str = UNIT) -> bool:
        return self.relay.run(["systemctl", "is-active", unit]).stdout.strip() == "active"

    def wait_until_delivered(self, within_s: float = 60) -> None:
        wait_until(lambda: self.ask("left").returncode == 0, within_s)

    def journal(self) -> str:
        return self.relay.run(["journalctl", "--no-pager", "-o", "cat", "-u", UNIT], timeout_s=60).stdout

    # -- the senders ---------------------------------------------------------------------------------------

    def dcmsend(self, folder: Path, port: int = PORT) -> subprocess.CompletedProcess[str]:
        """dcmtk's sender of whole folders, as it is: what is compressed stays compressed."""
        command = ["/usr/bin/dcmsend", "-v", "-dn", "-nuc", "-nh", "+sd", "-to", "5", "-ta", "20", "-td", "60"]
        command += ["-aet", "GATE_CT", "-aec", "GATE", ADDRESS, str(port), str(folder)]
        return self.hospital.lab.controller.run(command, timeout_s=900)

    def connect(self, kinds: Sequence[tuple[str, str]] | None = None) -> Outbound:
        """One association with the relay from the modality's address; the caller's thread opens it."""
        wanted = kinds or sorted({(kind.sop_class, kind.transfer_syntax) for kind in KINDS})
        place = Destination("GATE", "GATE_CT", (Endpoint(ADDRESS, PORT),), False, None, 2, 5, 1)
        with self.hospital.lab.controller.namespace.entered():
            return Outbound(place, wanted, 20)

    # -- the destinations ----------------------------------------------------------------------------------

    def in_archive(self, read: Read = read_digests) -> Digests:
        return read(find_files(self.stores.disk / PACS_FOLDER.lstrip("/")))

    def in_safe(self, read: Read = read_digests) -> Digests:
        return read(find_files(self.stores.disk / SAFE_FOLDER.lstrip("/")))

    def in_vendor_s_box(self, read: Read = read_digests) -> Digests:
        found = read(find_files(self.vendor.disk / ORTHANC_FOLDER.lstrip("/")))
        return {uid: digest for uid, digest in found.items() if uid.startswith(UID_ROOT)}


@contextmanager
def open_gate(lab: Lab) -> Iterator[Gate]:
    """Two more hosts with nothing on them but logins, and gone again at the end. Both have a Python."""
    places = {"gate-1": ADDRESS, "gate-2": STORES}
    try:
        relay, stores = lab.add_hosts(places, open_python_layer(read_cache_folder()))
        folder = lab.controller.home / "gate"
        (folder / "inventory").mkdir(parents=True)
        relay.run("useradd --system --no-create-home --shell /usr/sbin/nologin fleet-relay", check=True)
        make_certificates(folder)
        start_safe(stores, folder)
        text = INVENTORY.replace("@gate-1", relay.host_key).replace("@gate-2", stores.host_key)
        (folder / "inventory" / "gate.yml").write_text(text, encoding="utf-8")
        for name in ("ca.pem", "server.pem", "server.key"):
            (folder / "inventory" / name).write_bytes((folder / name).read_bytes())
        hospital = Hospital(lab, folder / "inventory", folder / "history.sqlite")
        yield Gate(hospital, relay, stores, lab["vendor-box"], folder)
    finally:
        for name in places:
            if name in lab.hosts:
                lab.remove_host(name)


def make_certificates(folder: Path) -> None:
    """An authority, and a server's certificate by it, for a day."""
    key = ["-newkey", "rsa:2048", "-nodes", "-days", "1"]
    names = f"subjectAltName=DNS:{SAFE_NAME},IP:{ADDRESS}"
    _openssl(folder, "req", "-x509", *key, "-subj", "/CN=gate-ca", "-keyout", "ca.key", "-out", "ca.pem")
    _openssl(folder, "req", "-x509", *key, "-subj", f"/CN={SAFE_NAME}", "-addext", names,
             "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "server.key", "-out", "server.pem")  # fmt: skip


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)


def start_safe(host: LabHost, folder: Path) -> None:
    """dcmtk's storescp by TLS, started by hand, and the profile by which dcmqrscp takes every transfer syntax."""
    host.write_file("/srv/profile.cfg", format_profile())
    for name in ("server.key", "server.pem"):
        host.write_file(f"/srv/{name}", (folder / name).read_text(encoding="ascii"), mode=0o600)
    host.run(["mkdir", "-p", SAFE_FOLDER], check=True)
    server = f"/usr/bin/storescp --fork +tls /srv/server.key /srv/server.pem -ic +xa -aet GATE_SAFE -od {SAFE_FOLDER}"
    host.run(f"systemd-run --quiet --collect --unit=safe {server} {SAFE_PORT}", check=True)


def format_profile() -> str:
    """An association profile of dcmtk's that takes each of our kinds in each of their transfer syntaxes."""
    syntaxes = sorted({kind.transfer_syntax for kind in KINDS})
    classes = ["1.2.840.10008.1.1", *sorted({kind.sop_class for kind in KINDS})]
    lines = ["[[TransferSyntaxes]]", "[All]"]
    lines += [f"TransferSyntax{number} = {uid}" for number, uid in enumerate(syntaxes, start=1)]
    lines += ["[[PresentationContexts]]", "[AllContexts]"]
    lines += [f"PresentationContext{number} = {uid}\\All" for number, uid in enumerate(classes, start=1)]
    lines += ["[[Profiles]]"]
    for name in ("AllIn", "AllOut"):
        lines += [f"[{name}]", "PresentationContexts = AllContexts"]
    return "\n".join(lines) + "\n"


@dataclass
class Sender:
    """A modality that sends until everything was acknowledged, over any number of associations; `statuses` are the
    answers that were no success."""

    gate: Gate
    files: Sequence[Path]
    acknowledged: set[str] = field(default_factory=set)
    statuses: list[int] = field(default_factory=list)
    associations: int = 0
    within_s: float = 90.0
    rounds: int | None = None  # give up after so many associations

    def run(self) -> None:
        deadline = time.monotonic() + self.within_s
        left = {parcel.sop_instance_uid: parcel for parcel in map(make_parcel, self.files)}
        while left and time.monotonic() < deadline and self.associations != self.rounds:
            with suppress(AssociationFailed, OSError):
                self._send(left)
            if left:
                time.sleep(0.1)

    def _send(self, left: dict[str, Parcel]) -> None:
        with self.gate.connect() as association:
            self.associations += 1
            for uid, parcel in list(left.items()):
                status = association.store(parcel)
                if status == 0:
                    self.acknowledged.add(uid)
                    del left[uid]
                else:
                    self.statuses.append(status)
            association.release()

    @contextmanager
    def running(self) -> Iterator[None]:
        """In a thread of its own; at the end of the block it is waited for."""
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            thread.join(self.within_s + 30)
        assert not thread.is_alive()

    def wait_for(self, number: int) -> None:
        wait_until(lambda: len(self.acknowledged) >= number, self.within_s)


def make_parcel(path: Path) -> Parcel:
    """A file of ours, to be sent as it is."""
    image = dcmread(path, stop_before_pixels=True)
    syntax = str(image.file_meta.TransferSyntaxUID)
    size = path.stat().st_size
    return Parcel(
        path, read_data_set_offset(path), size, None, str(image.SOPClassUID), str(image.SOPInstanceUID), syntax
    )


def only(found: Digests, uids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Some of what was found, by UID."""
    wanted = set(uids)
    return {uid: digest for uid, digest in found.items() if uid in wanted}
