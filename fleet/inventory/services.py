"""Virtual services: one title and address in front of several instances."""

from collections.abc import Mapping
from typing import Any

from fleet.dicom.ae_title import normalize_ae_title
from fleet.inventory import model as m
from fleet.inventory.settings import parse_duration
from fleet.inventory.sites import Sites
from fleet.inventory.typed import Typed, below
from fleet.secrets.secret import Secret
from fleet.secrets.vault import Vault

_PLAIN_CHECK = m.HealthCheck("LOADBALANCER")
_ECHOSCU = "/usr/bin/echoscu"


def load_virtual_services(typed: Typed, sites: Sites) -> tuple[m.VirtualService, ...]:
    """Virtual services of all documents."""
    found = []
    for document in typed.documents.documents:
        for value, origin in typed.listed(document, "virtual_services"):
            site = sites.name_for(document, value, origin, f"virtual service {value['name']}")
            found.append(_virtual_service(value, site, origin, typed.documents.vault))
            for address in found[-1].addresses:
                typed.check_date(address.until, address.origin, "until")
    return tuple(found)


def _virtual_service(value: Mapping[str, Any], site: str, origin: m.Origin, vault: Vault) -> m.VirtualService:
    return m.VirtualService(
        name=value["name"],
        entity=value["entity"],
        site=site,
        addresses=tuple(
            _virtual_address(item, below(origin, "addresses", index)) for index, item in enumerate(value["addresses"])
        ),
        port=value["port"],
        mode=value.get("mode", "failover"),
        via=value.get("via", "haproxy"),
        vrrp=_vrrp(value["vrrp"], below(origin, "vrrp"), vault) if "vrrp" in value else None,
        check=_health_check(value["check"], below(origin, "check")) if "check" in value else _PLAIN_CHECK,
        script=_script(value["script"]) if "script" in value else None,
        shared_storage_reason=value.get("shared_storage", {}).get("reason"),
        origin=origin,
    )


def _vrrp(value: Mapping[str, Any], origin: m.Origin, vault: Vault) -> m.Vrrp:
    password = value.get("auth_pass")
    if isinstance(password, str):  # typed in clear: a rule says so, and it is kept from eyes all the same
        password = vault.keep(Secret(password, origin.at("auth_pass")))
    return m.Vrrp(value["interface"], value["virtual_router_id"], value["priority"], password, origin)


def _script(value: Mapping[str, Any]) -> m.ExternalScript:
    return m.ExternalScript(value["path"], value.get("echoscu", _ECHOSCU), value["where"])


def _virtual_address(item: Any, origin: m.Origin) -> m.VirtualAddress:
    text, until = (item, None) if isinstance(item, str) else (item["address"], item.get("until"))
    address, _, prefix = text.partition("/")
    return m.VirtualAddress(address, int(prefix) if prefix else None, until, origin)


def _health_check(value: Mapping[str, Any], origin: m.Origin) -> m.HealthCheck:
    return m.HealthCheck(
        calling=normalize_ae_title(value["calling"]),
        interval_s=parse_duration(value["interval"]) if "interval" in value else _PLAIN_CHECK.interval_s,
        timeout_s=parse_duration(value["timeout"]) if "timeout" in value else _PLAIN_CHECK.timeout_s,
        fall=value.get("fall", _PLAIN_CHECK.fall),
        rise=value.get("rise", _PLAIN_CHECK.rise),
        origin=origin,
    )
