"""What one rendering of a fleet shares between its hosts: templates compiled once, tables derived once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fleet.errors import UnfitValue
from fleet.inventory.model import Entity, Host, Inventory, Relay, VirtualService
from fleet.inventory.peers import Peers
from fleet.render.archive import ArchiveTables, Vendor, make_tables
from fleet.render.artifacts import Content, Program
from fleet.render.balance_values import BALANCE_TYPES, Permitted, make_permitted
from fleet.render.engine import Templates
from fleet.render.formats import Format, format_of_template
from fleet.render.views import (
    EntityView,
    FleetView,
    HostView,
    InstanceView,
    PeerView,
    ServiceView,
    make_fleet_view,
    make_host_view,
)
from fleet.targets.dcmqrscp import Group, HostRow
from fleet.targets.products import select_texts
from fleet.targets.text import explain_form, explain_long_lines

# Frozen values of plain fields, without methods: the sandbox lets templates read them without asking twice.
PLAIN_TYPES = frozenset(
    {EntityView, HostView, InstanceView, PeerView, ServiceView, HostRow, Group, Vendor, *BALANCE_TYPES}
)


@dataclass
class Session:
    """One inventory being rendered."""

    inventory: Inventory
    peers: Peers
    templates: Templates
    programs: Mapping[str, Program]
    _tables: dict[str, ArchiveTables] = field(default_factory=dict)
    _selected: dict[str, frozenset[str]] = field(default_factory=dict)
    _permitted: dict[str, Permitted] = field(default_factory=dict)
    _hosts: dict[str, HostView] = field(default_factory=dict)

    def tables_of(self, archive: Entity) -> ArchiveTables:
        """An archive's tables, which all its instances share."""
        found = self._tables.get(archive.name)
        if found is None:
            found = self._tables[archive.name] = make_tables(archive, self.peers)
        return found

    def permitted_at(self, entity: Entity) -> Permitted:
        """Who may call an entity, in lines as HAProxy takes them."""
        found = self._permitted.get(entity.name)
        if found is None:
            found = self._permitted[entity.name] = make_permitted(self.peers.callers_of(entity))
        return found

    def view_of(self, host: Host) -> HostView:
        """A host as templates see it."""
        found = self._hosts.get(host.name)
        if found is None:
            found = self._hosts[host.name] = make_host_view(host)
        return found

    @cached_property
    def fleet_view(self) -> FleetView:
        """The whole fleet as a team's templates see it."""
        return make_fleet_view(self.inventory, self.peers)

    @cached_property
    def services_by_host(self) -> Mapping[str, tuple[VirtualService, ...]]:
        """The virtual services that a host is a member of, by name."""
        found: dict[str, list[VirtualService]] = {}
        for service in sorted(self.inventory.virtual_services, key=lambda each: each.name):
            entity = self.inventory.find_entity(service.entity)
            for name in dict.fromkeys(instance.host for instance in entity.instances) if entity else ():
                found.setdefault(name, []).append(service)
        return {name: tuple(services) for name, services in found.items()}

    @cached_property
    def scripted_services(self) -> tuple[VirtualService, ...]:
        """The virtual services of appliances that want a check script."""
        return tuple(each for each in self.inventory.virtual_services if each.via == "external" and each.script)

    def hosts_of(self, selector: str) -> frozenset[str]:
        """The names of the hosts that a selector selects; raises `EmptySelection`."""
        found = self._selected.get(selector)
        if found is None:
            names = frozenset(host.name for host in self.peers.selectors.hosts(selector))
            found = self._selected[selector] = names
        return found

    @cached_property
    def relay_texts(self) -> tuple[tuple[Relay, frozenset[str]], ...]:
        """Each relay text with the entities that it is for."""
        return select_texts(self.inventory, self.peers)

    def render(self, template: str, host: Host, path: str, variables: dict[str, Any]) -> Content:
        """One of our templates (or the team's over it) for a file of a host, checked as its reader reads it."""
        format_ = format_of_template(template)
        context = {"host": self.view_of(host), "fleet_name": self.inventory.name, "path": path, **variables}
        return check_content(
            self.templates.render(template, format_, context, host=host.name), format_, host.name, path
        )


def check_content(content: Content, format_: Format, host: str, path: str) -> Content:
    """The text, with a final newline, or an error that says why it is never written (T16, T17)."""
    text = content.text if content.text.endswith("\n") else content.text + "\n"
    reasons = list(explain_form(text, ascii_only=format_.ascii_only))
    if format_.max_line_bytes is not None:
        reasons += explain_long_lines(text, format_.max_line_bytes)
    if reasons:
        raise UnfitValue(f"{path} of host {host} cannot be written as {format_.name}: {'; '.join(reasons[:3])}")
    return Content(text, content.secrets)
