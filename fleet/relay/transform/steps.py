"""One instance through the steps of its route: require, de-identify, edit; then looked at again before it may go.

The source is never changed. Whatever goes wrong ends in `Quarantine`, with the reason in keywords and without any
value, and leaves no file behind; so what was not transformed can never be taken for what was.
"""

import contextlib
import errno
import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from pydicom import config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from fleet.relay.transform.deidentify import check_deidentify, clean_tail, deidentify
from fleet.relay.transform.edit import CannotEditError, check_edit, check_require, edit_elements, require_elements
from fleet.relay.transform.elements import CannotDeidentifyError
from fleet.relay.transform.file import Opened, UnreadableInstanceError, open_instance, write_instance
from fleet.relay.transform.pixels import clean_pixels
from fleet.relay.values import Quarantine, Route, Transformed

# PS3.5 9.1, but for leading zeros, which devices send; what an edit sets is judged by `transform_edit`.
_UID: Final = re.compile(r"(?=.{1,64}\Z)[0-9]+(?:\.[0-9]+)+")
_FAULTS_OF_THE_HOST: Final = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM)
)
_NEEDED: Final = ("SOPClassUID", "SOPInstanceUID")
_KEPT: Final = ("StudyInstanceUID", "SeriesInstanceUID")  # as valid as they came


def transform(path_in: Path, path_out: Path, route: Route, key: bytes) -> Transformed | Quarantine:
    """What a route makes of a file; `path_out` is there afterwards exactly if it says `Transformed`.

    Raises `OSError` for what is the host's fault and no property of the instance (a full disk): try again later.
    """
    _silence_library()
    try:
        return _transform(path_in, path_out, route, key)
    except (UnreadableInstanceError, CannotDeidentifyError, CannotEditError) as error:
        reason = str(error)
    except InvalidDicomError:
        reason = "it is no DICOM file (PS3.10 7.1)"
    except FileExistsError:
        return Quarantine("the file to be written exists already")
    except OSError as error:
        if error.errno in _FAULTS_OF_THE_HOST:
            _remove(path_out)
            raise OSError(error.errno, os.strerror(error.errno)) from None  # without a path
        reason = f"the transformation failed: {type(error).__name__}"
    except Exception as error:  # noqa: BLE001 - T74: whatever it is, the original does not go; its text may hold values
        reason = f"the transformation failed: {type(error).__name__}"
    _remove(path_out)
    return Quarantine(reason)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def check_transform(route: Route) -> tuple[str, ...]:
    """What of a route cannot be done: sentences, with which the relay refuses to start."""
    return tuple(f"route {route.name}: {sentence}" for sentence in _check(route))


def _check(route: Route) -> Iterator[str]:
    yield from check_require(route.require)
    if route.deidentify:
        yield from check_deidentify(route.deidentify)
    yield from check_edit(route.edit)


def _transform(path_in: Path, path_out: Path, route: Route, key: bytes) -> Transformed:
    with open_instance(path_in) as opened:
        header = opened.header
        require_elements(header, route.require)
        needed = (*_NEEDED, *(keyword for keyword in _KEPT if _has_uid(header, keyword)))
        cleaned = None
        if route.deidentify:
            identity = deidentify(header, route.deidentify, key)
            clean_tail(opened.tail)
            cleaned = clean_pixels(opened, identity)
        edit_elements(header, route.edit)
        _check_uids(header, needed)
        write_instance(opened, path_out, cleaned.pieces() if cleaned else None)
        length = cleaned.length if cleaned else opened.pixels[1] - opened.pixels[0]
        return _look_again(path_out, opened, route, length)


def _look_again(path: Path, written: Opened, route: Route, length: int) -> Transformed:
    """T75: what was written, read as a receiver would read it."""
    with open_instance(path) as opened:
        header = opened.header
        _check_uids(header, _NEEDED)
        if opened.pixels[1] - opened.pixels[0] != length:
            raise UnreadableInstanceError("what was written has other pixel data than was meant")
        if sorted(header.keys()) != sorted(written.header.keys()):
            raise UnreadableInstanceError("what was written has other elements than were meant")
        if route.deidentify and str(header.get("PatientIdentityRemoved", "")) != "YES":
            raise CannotEditError("PatientIdentityRemoved is not YES after the edits")
        _decode_all(header)
        return Transformed(str(header.SOPClassUID), str(header.SOPInstanceUID), opened.transfer_syntax)


def _check_uids(header: Dataset, needed: Iterable[str]) -> None:
    for keyword in needed:
        if not _has_uid(header, keyword):
            raise CannotEditError(f"{keyword} is missing or no UID (PS3.5 9.1)")


def _has_uid(header: Dataset, keyword: str) -> bool:
    return bool(_UID.match(str(header.get(keyword, ""))))


def _decode_all(header: Dataset) -> None:
    """Everything that is not plain bytes has to be readable, sequences too."""
    for tag in list(header.keys()):
        element = header.get_item(tag)
        if isinstance(element, RawDataElement) and element.VR in {None, "SQ", "UN"} and tag.is_private:
            continue
        if header[tag].VR == "SQ":
            for item in header[tag].value:
                _decode_all(item)


def _silence_library() -> None:
    """Its warnings quote values (T73). Set anew for each instance, since whoever embeds us may have reset them."""
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom(\..*)?")
