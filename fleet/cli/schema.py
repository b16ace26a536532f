"""`fleet schema [NAME]`: JSON Schema of our files, for editors."""

import json

import click

from fleet.documents.packaged import list_schemas, read_schema
from fleet.errors import UsageError, did_you_mean


@click.command("schema")
@click.argument("name", required=False)
def command(name: str | None) -> int:
    """Print the JSON Schema (draft 2020-12) NAME, or the names that there are.

    An editor finds it by the modeline `# yaml-language-server: $schema=PATH` at a file's top.
    """
    if name is None:
        print("\n".join(list_schemas()))
        return 0
    if name not in list_schemas():
        raise UsageError(
            f"no schema {name!r}; there are: {', '.join(list_schemas())}{did_you_mean(name, list_schemas())}"
        )
    print(json.dumps(read_schema(name), indent=1, ensure_ascii=False))
    return 0
