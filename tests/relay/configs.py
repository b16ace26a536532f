"""Relay configurations for tests, as rendered documents."""

import copy
from pathlib import Path
from typing import Any

SCHEDULE = {
    "timezone": "Europe/Amsterdam",
    "open": ["Mon-Fri 08:00-20:00"],
    "holidays": {"as": "Sun", "dates": ["2026-12-25"]},
}


def make_route(name: str = "all", to: str = "ARCHIVE", **changes: Any) -> dict[str, Any]:
    """A route that takes everything."""
    return {
        "name": name,
        "when": {},
        "otherwise": None,
        "require": {},
        "deidentify": None,
        "edit": [],
        "primary": [{"ae_title": to, "during": None, "backup_after_s": None}],
        "optional": [],
        **changes,
    }


def make_destination(title: str = "ARCHIVE", port: int = 104, address: str = "127.0.0.1") -> dict[str, Any]:
    """A destination on loopback."""
    return {
        "ae_title": title,
        "calling": "RELAY",
        "addresses": [{"address": address, "port": port}],
        "external": False,
        "tls": None,
        "timeouts_s": {"connect": 2, "acse": 2},
        "max_associations": 2,
        "rates": [],
        "commitment": False,
    }


def make_document(spool: Path = Path("/var/spool/relay"), **changes: Any) -> dict[str, Any]:
    """A small relay's document; each call gives one of its own."""
    return copy.deepcopy(
        {
            "schema": "fleet.relay/1",
            "ae_title": "RELAY",
            "further_titles": [],
            "listen": {"address": "127.0.0.1", "port": 11112},
            "receive": {"tls": None},
            "spool": str(spool),
            "max_pdu_bytes": 131072,
            "max_associations": 64,
            "drain_timeout_s": 5,
            "retention": {"keep_s": 86400, "max_bytes": None},
            "callers": [
                {
                    "ae_title": "CT1",
                    "addresses": ["127.0.0.1"],
                    "services": ["verification", "storage"],
                    "role": "entity",
                }
            ],
            "match": "all",
            "routes": [make_route()],
            "destinations": {"ARCHIVE": make_destination()},
            **changes,
        }
    )


def make_full_document() -> dict[str, Any]:
    """A document in which every key of the schema stands."""
    when = {
        "calling": ["CT*"],
        "called": ["RELAY"],
        "modality": ["CT", "MR"],
        "sop_class": ["1.2.840.10008.5.1.4.1.1.*"],
        "elements": {"BodyPartExamined": ["HEAD"]},
        "study_has": {"Modality": ["CT"]},
        "wait_for_study_s": 60,
        "during": SCHEDULE,
    }
    edit = [
        {"set": "PatientID", "value": [{"text": "X-"}, {"element": "AccessionNumber"}]},
        {"remove": "PatientName"},
        {"copy": "StudyID", "to": "AccessionNumber"},
    ]
    deidentify = {"profile": "basic", "options": ["retain-uids"], "pseudonyms": ["PatientID"]}
    target = {"ae_title": "ARCHIVE", "during": SCHEDULE, "backup_after_s": 60.5}
    route = make_route(
        when=when,
        otherwise="hold",
        require={"PatientID": {"matches": "[0-9]+"}, "StudyDate": {"matches": None}},
        deidentify=deidentify,
        edit=edit,
        primary=[target],
        optional=[target],
    )
    destination = {
        **make_destination(),
        "commitment": True,
        "rates": [
            {"during": SCHEDULE, "bytes_per_s": 1_000_000, "instances_per_s": None},
            {"during": None, "bytes_per_s": None, "instances_per_s": 0.5},
        ],
        "external": True,
        "tls": {
            "ca_file": "/etc/fleet/tls/ca.pem",
            "server_name": "archive.example",
            "cert_file": "/etc/fleet/tls/relay.pem",
            "key_file": "/etc/fleet/tls/relay.key",
        },
    }
    receive = {
        "tls": {
            "cert_file": "/etc/fleet/tls/relay.pem",
            "key_file": "/etc/fleet/tls/relay.key",
            "ca_file": "/etc/fleet/tls/callers.pem",
            "port": 2762,
        }
    }
    return make_document(
        routes=[route, make_route("second")],
        destinations={"ARCHIVE": destination},
        further_titles=["R2"],
        receive=receive,
        retention={"keep_s": 60.5, "max_bytes": 1_000_000},
    )
