"""Which settings each engine knows, and which it must be given: quotas that delete images are never defaulted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

SHARED: Final = ("drain_timeout", "max_pdu", "user", "options")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The settings of one engine; a name in `required` is in `known` too."""

    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def known(self) -> frozenset[str]:
        """Everything that may be given."""
        return frozenset((*self.required, *self.optional))


ENGINE_SETTINGS: Final[Mapping[str, EngineSettings]] = {
    "dcmqrscp": EngineSettings(
        ("storage_area", "access", "max_studies", "max_bytes_per_study", "deletes_oldest"),
        ("max_associations", *SHARED),
    ),
    "storescp": EngineSettings(("storage_area",), ("profile_file", "profile", *SHARED)),
    "wlmscpfs": EngineSettings(("data_files",), ("max_associations", *SHARED)),
    "relay": EngineSettings(
        (),
        (
            "spool",
            "keep_delivered",
            "keep_delivered_bytes",
            "max_associations",
            "drain_timeout",
            "max_pdu",
            "user",
            "python",
            "tls",
        ),
    ),
    "none": EngineSettings((), ()),
}


def unknown_settings(engine: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings that the engine has not, sorted."""
    return tuple(sorted(set(settings) - ENGINE_SETTINGS[engine].known))


def missing_settings(engine: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings that the engine must be given and was not, in the order of the documentation."""
    return tuple(name for name in ENGINE_SETTINGS[engine].required if name not in settings)
