"""What every run is given: where the inventory is, who asks, which clock, who watches."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fleet.events import Observer, ignore
from fleet.secrets.vault import Vault


def utc_now() -> datetime:
    """The time now, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Origin:
    """Who is at work, for the journal: the account, whose `sudo` it is, who logged in, and from where."""

    user: str = "unknown"
    sudo_user: str = ""
    login_user: str = ""
    host: str = "unknown"
    ssh_client: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """The parameters of a run; everything below `cli` gets its clock, identity and observer from here.

    `inventory_root` is a folder or one file, `limit` a selector or None for everything, `forks` how many
    hosts are worked on at once, `known_hosts` a file of further pinned keys, `vault`
    what opens the inventory's secrets.
    """

    inventory_root: Path
    history_file: Path
    limit: str | None = None
    forks: int = 20
    who: str = "unknown"
    where: str = "unknown"
    run_id: str = "run"
    reason: str = ""
    origin: Origin = Origin()
    observer: Observer = ignore
    clock: Callable[[], datetime] = utc_now
    template_folder: Path | None = None
    connect_deadline_s: float = 15.0
    observe_deadline_s: float = 30.0
    apply_deadline_s: float = 120.0
    vault: Vault = field(default_factory=Vault)

    @property
    def templates(self) -> Path | None:
        """The team's own templates: as told, or `templates/` beside the inventory's files."""
        if self.template_folder is not None:
            return self.template_folder
        beside = (self.inventory_root if self.inventory_root.is_dir() else self.inventory_root.parent) / "templates"
        return beside if beside.is_dir() else None
