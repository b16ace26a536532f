"""Makes `fleet-relay.pyz` while the wheel is built: the one file that a relay's host runs without installing anything.

Only built wheels carry it. An editable installation has none, since its sources move: it makes one when it is asked.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RelayProgramHook(BuildHookInterface[Any]):
    """Puts the archive beside the package's modules."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make it where hatchling picks it up."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)  # this checkout's own sources, whatever is installed
        try:
            from fleet.relay.archive.bundle import make_bundle

            content = make_bundle()
        finally:
            sys.path.remove(self.root)
        self._folder = tempfile.TemporaryDirectory(prefix="fleet-relay-build-")
        path = Path(self._folder.name) / "fleet-relay.pyz"
        path.write_bytes(content)
        build_data["force_include"][str(path)] = "fleet/fleet-relay.pyz"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """The wheel has it; the hook's signature is hatchling's."""
        if version != "editable":
            self._folder.cleanup()
