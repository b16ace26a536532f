"""`fleet init DIR`: a commented starter inventory and the playbooks."""

from pathlib import Path

import click

from fleet.documents.packaged import list_schemas, package_folder
from fleet.errors import UnreadableFile, UsageError

STARTER = """\
# yaml-language-server: $schema=../schemas/inventory.schema.json
# A first inventory. Split it into as many files as you like: every *.yml below this folder is read.
fleet:
  name: my-hospital
  defaults:
    ssh: {user: fleet, become: sudo}
    verify:
      calling: FLEET_SCU                  # the title that fleet asks with; your devices have to know it
      timeouts: {connect: 3s, acse: 5s, dimse: 5s, total: 10s}
    kinds:
      modality: {port: 104, provides: [verification]}
      workstation: {port: 11112, provides: [verification, storage]}

# Who asks C-ECHO of everybody, and from which addresses: this goes into every table that fleet renders.
probers:
  - {ae_title: FLEET_SCU, addresses: [127.0.0.1]}

site: main

# What answers DICOM. A title is unique in the whole fleet: a PACS resolves a C-MOVE destination by title.
entities:
  - {ae_title: MY_PACS, kind: archive, address: 127.0.0.1, port: 4242,
     provides: [verification, storage, query-retrieve], description: "change address and port to your PACS"}
#  - {ae_title: CT_01, kind: modality, modality: CT, address: 10.0.1.21}
#  - {ae_title: WS_01, kind: workstation, address: 10.0.2.41}

# Who may talk to whom; `fleet sheet` and every rendered table follow from it.
flows: []
#  - {from: "kind=modality", to: MY_PACS, services: [storage]}
#  - {from: "kind=workstation", to: MY_PACS, services: [query-retrieve, storage]}

# Machines that fleet may log in to; `fleet trust HOST` shows the key to pin.
hosts: {}
#  pacs-1: {address: 10.0.0.11, host_keys: ["ssh-ed25519 AAAA..."]}
"""


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path))
def command(folder: Path) -> int:
    """Write a commented starter inventory to FOLDER/inventory and playbooks to FOLDER/playbooks.

    Nothing that is there already is touched.
    """
    files = {folder / "inventory" / "fleet.yml": STARTER}
    for path in sorted(package_folder("playbooks").glob("*.yml")):
        files[folder / "playbooks" / path.name] = path.read_text(encoding="utf-8")
    for name in list_schemas():
        text = (package_folder("schemas") / f"{name}.schema.json").read_text(encoding="utf-8")
        files[folder / "schemas" / f"{name}.schema.json"] = text
    taken = [str(path) for path in files if path.exists()]
    if taken:
        raise UsageError(f"{', '.join(taken[:3])} is there already; init writes only into a place of its own")
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnreadableFile(f"{error.filename} cannot be written: {error.strerror}; name a folder of yours") from error
    print(f"wrote {folder / 'inventory' / 'fleet.yml'} and {folder / 'playbooks'}; next:")
    print(f"  cd {folder} && fleet validate && fleet verify")
    return 0
