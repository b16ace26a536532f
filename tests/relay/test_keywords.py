"""The table of keywords against the library's own."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from pydicom.datadict import DicomDictionary

from fleet.relay import keywords
from fleet.relay.keywords import tag_of


def test_every_keyword_of_the_library_has_the_same_tag_here() -> None:
    for tag, row in DicomDictionary.items():
        if row[4]:
            assert tag_of(row[4]) == tag


def test_a_word_that_the_standard_does_not_know_has_no_tag() -> None:
    assert tag_of("PatientsName") is None
    assert tag_of("#") is None


def test_the_tables_are_read_from_inside_an_archive_too(tmp_path: Path) -> None:
    """The relay is also one file, `fleet-relay.pyz`, in which nothing is a file of its own."""
    package, archive = Path(keywords.__file__).parent, tmp_path / "relay.zip"
    with ZipFile(archive, "w") as file:
        for path in (package.parent / "__init__.py", *package.glob("*.py"), *package.glob("*.txt")):
            file.write(path, str(path.relative_to(package.parent.parent)))
    program = (
        "from fleet.relay.keywords import tag_of\n"
        "from fleet.relay.deidentify_table import read_table, read_words, read_safe_private\n"
        "print(tag_of('PatientName'), len(read_table()), 'chest' in read_words(), len(read_safe_private()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(archive)!r})\n{program}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("1048592 652 True 71\n", "")
