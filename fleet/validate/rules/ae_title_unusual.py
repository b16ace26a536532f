"""Legal titles that somebody will regret: beyond the plain characters, from the factory, or words of a file."""

from collections.abc import Iterator

from fleet.dicom.ae_title import check_ae_title, is_plain_ae_title
from fleet.errors import Problem
from fleet.inventory.model import Entity, Placed
from fleet.validate.context import Context, show_text, warning

CODES = ("ae-title-unusual", "ae-title-factory")
WAIVABLE = CODES

# What products call themselves until somebody says otherwise; the second of them would be a duplicate.
FACTORY = frozenset(
    {
        "ORTHANC", "DCM4CHEE", "ANY-SCP", "ANY_SCP", "ANYSCP", "STORESCP", "STORESCU", "ECHOSCU", "FINDSCU", "MOVESCU",
        "CONQUESTSRV1", "AE_TITLE", "AETITLE", "PYNETDICOM", "OSIRIX", "HOROS", "WEASIS", "PACS", "DICOM",
    }
)  # fmt: skip


def check(context: Context) -> Iterator[Problem]:
    """Each title that an entity bears."""
    for entity in context.inventory.entities:
        yield from _judge(entity.ae_title, entity, entity)
        for further in entity.also:
            yield from _judge(further.ae_title, entity, further)


def _judge(title: str, entity: Entity, where: Placed) -> Iterator[Problem]:
    if title.upper() in FACTORY:
        text = (
            f"{title} is a title that a product bears from the factory; the next box of that make will bear it too and"
            " images would go to whichever is listed first; give this one a title of its own"
        )
        yield warning("ae-title-factory", text, where.at("ae_title"), about=(entity.ae_title, title))
    if not is_plain_ae_title(title) and check_ae_title(title) is None:
        text = (
            f"the AE title {show_text(title)} is legal but has characters beyond A-Z 0-9 _ . -; some products cannot"
            " carry them or fold their case, and then reject this box or mistake it for another; choose a plain one at"
            " the next chance"
        )
        yield warning("ae-title-unusual", text, where.at("ae_title"), about=(entity.ae_title, title))
