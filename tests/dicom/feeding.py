"""Feeding an association and reading everything that came of it."""

from fleet.dicom.association import Association, Indication


def feed(association: Association, data: bytes) -> list[Indication]:
    association.receive(data)
    return drain(association)


def drain(association: Association) -> list[Indication]:
    events = []
    while (event := association.next_event()) is not None:
        events.append(event)
    return events
