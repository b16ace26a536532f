"""paramiko, loaded without invoke: that library runs commands for `Match exec`, which nobody here ever asks for, and
loading it takes longer than all the rest of paramiko's own modules."""

import sys

_UNWANTED = "invoke"

_found = sys.modules.get(_UNWANTED)
if _found is None and "paramiko" not in sys.modules:
    sys.modules[_UNWANTED] = None  # type: ignore[assignment]  # an import of it fails, and paramiko does without
try:
    import paramiko
finally:
    if _found is None and sys.modules.get(_UNWANTED, _found) is None:
        sys.modules.pop(_UNWANTED, None)

__all__ = ["paramiko"]
