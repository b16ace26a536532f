"""Generated fleets of any size: sites with a pair of archives, a worklist, modalities and workstations.

They validate without an error and use what real sites use, so that what is measured is the real path.
"""

from pathlib import Path

FLEET = """\
fleet:
  name: generated
  controllers: [10.0.0.5]
  defaults:
    ssh: {user: fleet, become: sudo}
    verify: {calling: FLEET_SCU, timeouts: {connect: 3s, acse: 5s, dimse: 5s, total: 10s}}
    kinds:
      modality: {port: 104, provides: [verification]}
      workstation: {port: 11112, provides: [verification, storage]}
probers:
  - {ae_title: FLEET_SCU, addresses: [10.0.0.5]}
groups:
  critical: "kind=archive, kind=worklist"
flows:
  - {from: "kind=modality", to: "kind=archive", within: site, services: [storage]}
  - {from: "kind=modality", to: "kind=worklist", within: site, services: [worklist]}
  - {from: "kind=workstation", to: "kind=archive", within: site, services: [query-retrieve, storage]}
"""

HOSTS = """\
site: s{site:03}
labels: {{region: r{region}, code: S{site:03}}}
hosts:
  s{site:03}-pacs-1: {{address: {net}.0.11, redundancy_group: s{site:03}-pacs, host_keys: ["{key}"]}}
  s{site:03}-pacs-2: {{address: {net}.0.12, redundancy_group: s{site:03}-pacs, host_keys: ["{key}"]}}
entities:
  - ae_title: S{site:03}_PACS
    kind: archive
    provides: [verification, storage, query-retrieve]
    instances: [{{host: s{site:03}-pacs-1, port: 11112}}, {{host: s{site:03}-pacs-2, port: 11112}}]
    run: {{engine: dcmqrscp, storage_area: /var/lib/dcmtk/S{site:03}, access: RW, max_studies: 500,
          max_bytes_per_study: 1024mb, deletes_oldest: accepted, max_associations: 16}}
  - ae_title: S{site:03}_MWL
    kind: worklist
    provides: [verification, worklist]
    instances: [{{host: s{site:03}-pacs-1, port: 11113}}]
    run: {{engine: wlmscpfs, data_files: /var/lib/dcmtk/worklist}}
"""

SERVICE = """\
virtual_services:
  - name: s{site:03}-pacs
    entity: S{site:03}_PACS
    addresses: [{net}.0.100/16]
    port: 104
    via: haproxy
    shared_storage: {{reason: generated}}
    vrrp: {{interface: eth0, virtual_router_id: {router}, priority: {{s{site:03}-pacs-1: 110, s{site:03}-pacs-2: 100}}}}
    check: {{calling: LOADBALANCER, interval: 5s, timeout: 3s, fall: 3, rise: 2}}
"""

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEk4VKVF7mczN4gPebuaDuCZRzrxfaXjINdsXwqvu2xv"
MODALITIES = ("CT", "MR", "US", "CR", "DX", "MG", "XA", "NM")


def write_fleet(folder: Path, sites: int, entities_a_site: int) -> int:
    """Write a fleet of `sites` times `entities_a_site` entities (two hosts a site); return their number."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fleet.yml").write_text(FLEET, encoding="ascii")
    for site in range(sites):
        (folder / f"site-{site:04}.yml").write_text(_site(site, entities_a_site), encoding="ascii")
    return sites * entities_a_site


def _site(site: int, entities: int) -> str:
    net = f"{20 + site // 200}.{site % 200}"
    lines = [HOSTS.format(site=site, region=site % 7, net=net, key=KEY)]
    for number in range(entities - 2):
        where = f"address: {net}.{1 + number // 200}.{1 + number % 200}"
        if number % 3:
            modality = MODALITIES[number % len(MODALITIES)]
            lines.append(
                f"  - {{ae_title: S{site:03}_{modality}{number:04}, kind: modality, modality: {modality}, {where},\n"
                f'     description: "room {number}", labels: {{floor: {number % 5}}}}}\n'
            )
        else:
            lines.append(f"  - {{ae_title: S{site:03}_WS{number:04}, kind: workstation, {where}}}\n")
    lines.append(SERVICE.format(site=site, net=net, router=1 + site % 255))
    return "".join(lines)
