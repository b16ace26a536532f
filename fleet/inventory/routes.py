"""Who may talk to whom and when, as typed: flows, probers, schedules, and the routes of relays."""

from collections.abc import Mapping
from typing import Any

from fleet.dicom.ae_title import normalize_ae_title
from fleet.inventory import model as m
from fleet.inventory.settings import optional_duration
from fleet.inventory.typed import below


def make_flow(value: Mapping[str, Any], origin: m.Origin) -> m.Flow:
    """One flow; its selectors are resolved by `peers`."""
    return m.Flow(
        source=value["from"],
        destination=value["to"],
        services=tuple(value["services"]),
        within_site=value.get("within") == "site",
        except_sites=tuple(value.get("except", ())),
        origin=origin,
    )


def make_prober(value: Mapping[str, Any], origin: m.Origin) -> m.Prober:
    """One who asks C-ECHO of everybody."""
    return m.Prober(normalize_ae_title(value["ae_title"]), tuple(value["addresses"]), origin)


def make_schedule(name: str, value: Mapping[str, Any], origin: m.Origin) -> m.Schedule:
    """Opening hours as typed; `inventory.schedule` reads the windows."""
    holidays = value.get("holidays", {})
    return m.Schedule(
        name,
        value["timezone"],
        tuple(value["open"]),
        holidays.get("as"),
        tuple(holidays.get("dates", ())),
        origin,
    )


def make_relay(value: Mapping[str, Any], origin: m.Origin) -> m.Relay:
    """One text of routes for every relay that it selects."""
    routes = tuple(_route(item, below(origin, "routes", index)) for index, item in enumerate(value["routes"]))
    return m.Relay(value["entity"], value["timezone"], value.get("match", "all"), routes, origin)


def _route(value: Mapping[str, Any], origin: m.Origin) -> m.Route:
    require = value.get("require", ())
    return m.Route(
        name=value["name"],
        when=value.get("when", m.EMPTY),
        otherwise=value.get("otherwise"),
        require=require if isinstance(require, dict) else tuple(require),
        deidentify=value.get("deidentify"),
        edit=tuple(value.get("edit", ())),
        primary=_destinations(value, "primary", origin),
        optional=_destinations(value, "optional", origin),
        origin=origin,
    )


def _destinations(value: Mapping[str, Any], kind: str, origin: m.Origin) -> tuple[m.RouteDestination, ...]:
    return tuple(
        m.RouteDestination(
            item["ae_title"],
            item.get("during"),
            optional_duration(item.get("backup_after")),
            _rates(item, below(origin, "to", kind, index)),
            item.get("commitment", False),
            below(origin, "to", kind, index),
        )
        for index, item in enumerate(value["to"].get(kind, ()))
    )


def _rates(value: Mapping[str, Any], origin: m.Origin) -> tuple[m.Rate, ...]:
    return tuple(
        m.Rate(item.get("during"), item.get("bytes_per_s"), item.get("instances_per_s"), below(origin, "rates", index))
        for index, item in enumerate(value.get("rates", ()))
    )
