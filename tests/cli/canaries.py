"""Secrets that nobody could write by chance, an inventory that holds one of each, and a search for them in any form."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.secrets.vault_format import seal_bytes
from tests.validate.write_certificates import FAR, cert_pem, certify, key_pem

PASSPHRASE = "canary-passphrase-Zq7"
VARIABLE = "canary-variable-Xk3"
IN_A_LIST = "canary-listed-Pw9"
AUTH_PASS = "CanaryA1"
OLD_AUTH_PASS = "CanaryB2"
OLD_WORD = "canary-older-Lm5"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"

INVENTORY = """\
fleet:
  name: canaries
  defaults:
    verify: {{calling: FLEET_SCU, timeouts: {{connect: 300ms, acse: 300ms, dimse: 300ms, total: 500ms}}}}
site: north
probers: [{{ae_title: FLEET_SCU, addresses: [127.0.0.1]}}]
vars:
  token: {variable}
  deep:
    - {listed}
hosts:
  h1: {{address: 127.0.30.1, host_keys: ["{host_key}"]}}
  h2: {{address: 127.0.30.2, host_keys: ["{host_key}"]}}
certificates:
  clinic: {{ca_file: ca.pem}}
  inline:
    cert_file: relay.pem
    key: {key}
  in_file: {{cert_file: relay.pem, key: relay.key}}
entities:
  - {{ae_title: GATE, kind: relay, provides: [storage], instances: [{{host: h1, port: 12762}}],
     tls: {{verify: {{ca: clinic}}, present: in_file}}, run: {{engine: relay, tls: {{certificate: inline}}}}}}
  - {{ae_title: PACS, kind: archive, provides: [storage],
     instances: [{{host: h1, port: 11112}}, {{host: h2, port: 11112}}],
     run: {{engine: storescp, storage_area: /srv/pacs}}}}
  - {{ae_title: FAR_PACS, kind: archive, provides: [storage], address: 127.0.0.9, port: 1,
     tls: {{verify: {{ca: clinic}}, present: in_file}}}}
  - {{ae_title: CT, kind: modality, address: 127.0.0.8, listens: false}}
virtual_services:
  - name: front
    entity: PACS
    addresses: [10.0.0.9/24]
    port: 104
    shared_storage: {{reason: one disk array}}
    check: {{calling: LOADBALANCER}}
    vrrp:
      interface: eth0
      virtual_router_id: 5
      priority: {{h1: 110, h2: 100}}
      auth_pass: {auth_pass}
relays:
  - {{entity: GATE, timezone: UTC, routes: [{{name: all, to: {{primary: [{{ae_title: FAR_PACS}}]}}}}]}}
flows:
  - {{from: CT, to: "GATE, PACS", services: [storage]}}
  - {{from: GATE, to: FAR_PACS, services: [storage]}}
files:
  - {{template: team.j2, path: /etc/gateway.conf, mode: "0640", owner: root, where: all, check: "cat {{}}; exit 0",
     handler: "cat /etc/gateway.conf"}}
"""
TEMPLATE = "name = {{ host.name }}\ntoken = {{ vars.token | line }}\nmore = {{ vars.deep[0] | line }} # end\n"
OLD_TEAM_FILE = f"name = h1\ntoken = {OLD_WORD}\npassword={OLD_WORD}\n"
OLD_KEEPALIVED = f"vrrp_instance x {{\n    auth_pass {OLD_AUTH_PASS}\n    notify /x {OLD_AUTH_PASS}\n}}\n"


@dataclass(frozen=True)
class Planted:
    """What lies where, and what must be found nowhere else."""

    inventory: Path
    password_file: Path
    canaries: Mapping[str, str]


def seal(text: str, indentation: int) -> str:
    lines = seal_bytes(text.encode(), PASSPHRASE.encode(), b"0123456789abcdef" * 2).splitlines()
    return "!vault |\n" + "\n".join(" " * indentation + line for line in lines)


def plant(root: Path) -> Planted:
    """An inventory below `root`, its password in a folder of its own."""
    inventory, outside = root / "watched" / "inventory", root / "outside"
    inventory.mkdir(parents=True)
    outside.mkdir()
    authority = certify("Clinic CA", FAR, authority=True)
    inline, in_file = (certify("gate", FAR, authority) for _ in range(2))
    (inventory / "ca.pem").write_text(cert_pem(authority))
    (inventory / "relay.pem").write_text(cert_pem(inline))
    keys = {"inline": key_pem(inline), "in_file": key_pem(in_file)}
    (inventory / "relay.key").write_text(
        seal_bytes(keys["in_file"].encode(), PASSPHRASE.encode(), b"fedcba9876543210" * 2)
    )
    (inventory / "file.pem").write_text(cert_pem(in_file))
    text = INVENTORY.format(
        host_key=HOST_KEY,
        variable=seal(VARIABLE, 4),
        listed=seal(IN_A_LIST, 6),
        key=seal(keys["inline"], 6),
        auth_pass=seal(AUTH_PASS, 8),
    ).replace("in_file: {cert_file: relay.pem", "in_file: {cert_file: file.pem")
    (inventory / "fleet.yml").write_text(text)
    (inventory / "team.j2").write_text(TEMPLATE)
    (outside / "password").write_text(f"{PASSPHRASE}\n")
    bodies = {f"key {name}": pem.splitlines()[2] for name, pem in keys.items()}
    words = {
        "passphrase": PASSPHRASE,
        "variable": VARIABLE,
        "listed": IN_A_LIST,
        "auth_pass": AUTH_PASS,
        "old auth_pass": OLD_AUTH_PASS,
        "old word": OLD_WORD,
    }
    return Planted(inventory, outside / "password", words | bodies)


def forms(word: str) -> Iterator[bytes]:
    """The word as it is, backwards, in hexadecimal digits, and in base64 at each of its three alignments."""
    raw = word.encode()
    yield raw
    yield raw[::-1]
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for skipped in range(3):
        whole = base64.b64encode(b"\0" * skipped + raw)
        yield whole[(0, 2, 3)[skipped] + (1 if skipped else 0) : len(whole) - 4]  # without what neighbours decide


def find_leaks(canaries: Mapping[str, str], written: Mapping[str, bytes]) -> list[str]:
    """Which canary is in what, in whatever form."""
    return [
        f"{name} in {where}"
        for name, word in canaries.items()
        for where, data in written.items()
        if any(form in data for form in forms(word))
    ]


def read_tree(folder: Path, but: Iterable[Path] = ()) -> dict[str, bytes]:
    """Every file below a folder, its name included."""
    left_out = tuple(but)
    return {
        str(path): str(path).encode() + b"\n" + path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(path.is_relative_to(each) for each in left_out)
    }
