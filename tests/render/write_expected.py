"""Write what the example renders to beside it; a person reads the difference before it is committed."""

import shutil

from tests.render.building import EXAMPLE, read_inventory


def write_expected() -> None:
    """Replace the expected files by what is rendered now."""
    folder = EXAMPLE.parent / "expected"
    shutil.rmtree(folder, ignore_errors=True)
    for name, host in read_inventory(EXAMPLE).render().items():
        for file in host.files:
            if file.program is not None:
                continue
            path = folder / name / file.path.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.content, encoding="utf-8")


if __name__ == "__main__":
    write_expected()
