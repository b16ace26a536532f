"""How a product checks its own file on a host, as a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileCheck:
    """How a product checks its own file on the host before it goes live.

    `script` is POSIX sh; `$1` is the staged file, `$2` a private scratch folder that is removed afterwards.
    It prints what the product says and exits 0 only for a good file, 75 (EX_TEMPFAIL) when the product could
    not tell (inconclusive: refuse, say so), anything else for a bad file.
    """

    name: str
    script: str
