"""The table of keywords against the library's own."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from pydicom.datadict import DicomDictionary

from fleet.dicom import keywords
from fleet.dicom.keywords import find_tag


def test_every_keyword_of_the_library_has_the_same_tag_here() -> None:
    for tag, row in DicomDictionary.items():
        if row[4]:
            assert find_tag(row[4]) == tag


def test_a_word_that_the_standard_does_not_know_has_no_tag() -> None:
    assert find_tag("PatientsName") is None
    assert find_tag("#") is None


def test_the_tables_are_read_from_inside_an_archive_too(tmp_path: Path) -> None:
    """The relay is also one file, `fleet-relay.pyz`, in which nothing is a file of its own."""
    package, archive = Path(keywords.__file__).parent, tmp_path / "relay.zip"
    with ZipFile(archive, "w") as file:
        rooms = (package, package.parent / "relay")
        files = [path for room in rooms for suffix in ("*.py", "*.txt") for path in room.rglob(suffix)]
        for path in (package.parent / "__init__.py", package.parent / "errors.py", *files):
            file.write(path, str(path.relative_to(package.parent.parent)))
    program = (
        "from fleet.dicom.keywords import find_tag\n"
        "from fleet.relay.transform.table import read_table, read_words, read_safe_private\n"
        "print(find_tag('PatientName'), len(read_table()), 'chest' in read_words(), len(read_safe_private()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(archive)!r})\n{program}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("1048592 652 True 71\n", "")
