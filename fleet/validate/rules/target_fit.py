"""What a product of this inventory cannot carry, and settings that its engine has not: the products know."""

from collections.abc import Iterator

from fleet.dicom.ae_title import check_ae_title
from fleet.errors import Problem
from fleet.targets.products import check_targets
from fleet.targets.refusal import CODE, HINT_CODE
from fleet.validate.context import Context

CODES = (CODE, HINT_CODE)
WAIVABLE = (HINT_CODE,)


def check(context: Context) -> Iterator[Problem]:
    """Every product asked about everything that it serves."""
    for problem in check_targets(context.inventory, context.peers):
        if not any(_is_illegal_title(word, problem) for word in problem.subjects):
            yield problem


def _is_illegal_title(word: str, problem: Problem) -> bool:
    """A title that nothing at all can carry has a rule of its own; what this product says of it adds nothing."""
    return problem.code == CODE and f"title {word!r}" in problem.message and check_ae_title(word) is not None
