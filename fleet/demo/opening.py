"""The hospital, switched on: every machine and every box of its inventory, in this process, until it is closed."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import paramiko

from fleet.demo.boxes import Box
from fleet.demo.engines import check_dcmqrscp, start_dcmqrscp, start_wlmscpfs
from fleet.demo.premises import Hospital
from fleet.demo.scp import Place
from fleet.demo.ssh_server import Login, SshServer
from fleet.demo.units import Answer, Command, Units
from fleet.demo.userland_server import UserlandServer
from fleet.inventory.model import Host, Inventory

_ENGINES = {"dcmqrscp": start_dcmqrscp, "wlmscpfs": start_wlmscpfs}


class Machine:
    """One host: its units, its programs, its sshd."""

    def __init__(self, hospital: Hospital, host: Host) -> None:
        root = hospital.root(host.name)
        self.units = Units(root, host.address, _ENGINES)

        def dcmqrscp(words: Sequence[str]) -> Answer:
            return check_dcmqrscp(Command("dcmqrscp", tuple(words), root, host.address))

        # First the door: where it is taken, this hospital is open already, and nothing of it may be touched.
        self.sshd = SshServer(
            Login(
                root=root,
                address=host.address,
                port=host.ssh.port,
                host_key=paramiko.ECDSAKey.from_private_key_file(str(hospital.host_key(host.name))),
                client_key=paramiko.ECDSAKey.from_private_key_file(str(hospital.identity)),
                user=host.ssh.user,
            )
        )
        self._userland = UserlandServer(root, {"systemctl": self.units.answer, "dcmqrscp": dcmqrscp})
        self.units.start_enabled()

    def close(self) -> None:
        """Switch it off: nobody may come in any more, then what runs ends."""
        self.sshd.close()
        self._userland.close()
        self.units.close()


class OpenHospital:
    """Everything that listens, by name; a context manager."""

    def __init__(self, hospital: Hospital, inventory: Inventory) -> None:
        self.machines: dict[str, Machine] = {}
        self.boxes: dict[str, Box] = {}
        try:
            for host in inventory.hosts.values():
                self.machines[host.name] = Machine(hospital, host)
            for entity in inventory.entities:
                if entity.listens and entity.address and entity.port:
                    place = Place(entity.address, entity.port)
                    self.boxes[entity.name] = Box(entity.ae_title, place, hospital.screen(entity.name))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def contacts(self) -> int:
        """How many SSH connections and associations everybody here has seen."""
        logins = sum(machine.sshd.connections_seen for machine in self.machines.values())
        servers = [server for machine in self.machines.values() for server in machine.units.running.values()]
        asked_boxes = sum(box.associations_seen for box in self.boxes.values())
        return logins + asked_boxes + sum(server.associations_seen for server in servers)

    @property
    def shown(self) -> Mapping[str, int]:
        """How many images each box shows."""
        return {name: len(box.shown) for name, box in self.boxes.items()}

    def close(self) -> None:
        """Switch everything off, side by side."""
        endings: list[Callable[[], None]] = [machine.close for machine in self.machines.values()]
        endings += [box.close for box in self.boxes.values()]
        with ThreadPoolExecutor(max_workers=max(1, len(endings))) as pool:
            for future in [pool.submit(ending) for ending in endings]:
                future.result()
