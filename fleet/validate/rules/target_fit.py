"""What a product of this inventory cannot carry, and settings that its engine has not: the products know."""

from collections.abc import Iterator

from fleet.errors import Problem
from fleet.targets.products import check_targets
from fleet.targets.refusal import CODE, HINT_CODE
from fleet.validate.context import Context

CODES = (CODE, HINT_CODE)
WAIVABLE = (HINT_CODE,)


def check(context: Context) -> Iterator[Problem]:
    """Every product asked about everything that it serves."""
    yield from check_targets(context.inventory, context.peers)
