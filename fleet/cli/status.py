"""What an error costs: exception → words on stderr and exit status."""

import sys
import traceback

from fleet.cli.net import Bug
from fleet.errors import FleetError, HostError, InvalidInventory, NetworkError, UsageError
from fleet.sheet.safe import safe_lines

GOOD = 0
FAILED = 1
FOUND_WRONG = 2
PENDING = 3
WRONG_USAGE = 64


def status_of(error: Exception) -> int:
    """Tell the error on stderr and return the exit status that it costs."""
    if isinstance(error, InvalidInventory):
        for problem in error.problems:
            print(safe_lines(str(problem)), file=sys.stderr)
            for other in problem.also:
                print(safe_lines(f"    and {other}"), file=sys.stderr)
        print(f"fleet: {error}; nothing was contacted", file=sys.stderr)
        return FOUND_WRONG
    if isinstance(error, FleetError):
        print(safe_lines(f"fleet: {error}"), file=sys.stderr)  # it may quote whoever answered (T40)
        if isinstance(error, UsageError):
            return WRONG_USAGE
        # A host that cannot be reached or cannot do its part is what was found, not what fleet could not do.
        is_about_a_host = isinstance(error, NetworkError | HostError)
        return FOUND_WRONG if error.found_wrong or is_about_a_host else FAILED
    if isinstance(error, OSError):
        print(f"fleet: {error}", file=sys.stderr)
        return FAILED
    if isinstance(error, Bug):
        print(error, end="", file=sys.stderr)
    else:
        traceback.print_exception(error)
    print("fleet: this is a bug in fleet; please report the lines above", file=sys.stderr)
    return FAILED
