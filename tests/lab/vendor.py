"""The vendor's box: an Orthanc that nobody of ours may push to, with a configuration that tests know."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.lab.controller import Controller
from tests.lab.hosts import HostError, LabHost

CONFIGURATION = "/etc/orthanc/orthanc.json"


@dataclass(frozen=True)
class OrthancSettings:
    """What a test wants of the box; `modalities` maps symbolic names to (title, address, port)."""

    ae_title: str = "VENDOR_BOX"
    dicom_port: int = 4242
    http_port: int = 8042
    checks_called_title: bool = False
    answers_unknown_callers: bool = True
    strict_ae_comparison: bool = False
    modalities: Mapping[str, tuple[str, str, int]] = field(default_factory=dict)


def format_orthanc_configuration(settings: OrthancSettings) -> str:
    configuration = {
        "Name": settings.ae_title,
        "StorageDirectory": "/var/lib/orthanc/db-v6",
        "IndexDirectory": "/var/lib/orthanc/db-v6",
        "HttpServerEnabled": True,
        "HttpPort": settings.http_port,
        "RemoteAccessAllowed": True,  # the network is the lab's own
        "AuthenticationEnabled": False,
        "DicomServerEnabled": True,
        "DicomAet": settings.ae_title,
        "DicomPort": settings.dicom_port,
        "DicomCheckCalledAet": settings.checks_called_title,
        "DicomAlwaysAllowEcho": settings.answers_unknown_callers,
        "DicomCheckModalityHost": False,
        "StrictAetComparison": settings.strict_ae_comparison,
        "DicomModalities": {name: list(peer) for name, peer in settings.modalities.items()},
    }
    return json.dumps(configuration, indent=2) + "\n"


def start_orthanc(
    host: LabHost, controller: Controller, settings: OrthancSettings | None = None, within_s: float = 20
) -> OrthancSettings:
    """(Re)starts it with these settings and waits until its REST interface answers."""
    chosen = settings if settings is not None else OrthancSettings()
    host.write_file(CONFIGURATION, format_orthanc_configuration(chosen), owner="root:orthanc", mode=0o640)
    host.systemctl("restart", "orthanc")
    deadline = time.monotonic() + within_s
    while not _is_up(controller, host, chosen):
        if time.monotonic() > deadline:
            said = host.run("systemctl status --no-pager orthanc; tail -n 20 /var/log/orthanc/*").stdout
            raise HostError(f"Orthanc did not start:\n{said}")
        time.sleep(0.1)
    return chosen


def _is_up(controller: Controller, host: LabHost, settings: OrthancSettings) -> bool:
    try:
        return controller.request("GET", f"http://{host.address}:{settings.http_port}/system")[0] == 200
    except OSError:
        return False
