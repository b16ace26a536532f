"""What ships with fleet: JSON Schemas and playbooks."""

import json
from importlib import resources
from pathlib import Path
from typing import Any


def package_folder(name: str) -> Path:
    """A folder that ships with fleet (`schemas`, `playbooks`): in the wheel as package data, else beside us."""
    packaged = Path(str(resources.files("fleet"))) / name
    return packaged if packaged.is_dir() else packaged.parent.parent / name


def read_schema(name: str) -> dict[str, Any]:
    """A packaged JSON Schema by its name, such as `inventory`."""
    path = package_folder("schemas") / f"{name}.schema.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def list_schemas() -> tuple[str, ...]:
    """The names of the schemas that ship with fleet."""
    return tuple(
        sorted(path.name.removesuffix(".schema.json") for path in package_folder("schemas").glob("*.schema.json"))
    )
