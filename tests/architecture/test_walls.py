"""The walls of the house hold, and each contract has a planted violation that it rejects."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / ".importlinter"

# (contract, module, line): the line, planted at the end of the module, must break that contract.
PLANTED = [
    ("layers", "fleet/inventory/select.py", "import fleet.workflow.context"),
    ("dicom-sans-io", "fleet/dicom/pdu.py", "import socket"),
    ("pure", "fleet/plan/decide.py", "import subprocess"),
    ("yaml", "fleet/playbook.py", "import yaml"),
    ("jsonschema", "fleet/playbook.py", "import jsonschema"),
    ("jsonschema-rs", "fleet/playbook.py", "import jsonschema_rs"),
    ("paramiko", "fleet/workflow/asking.py", "import paramiko"),
    ("jinja2", "fleet/workflow/rendering.py", "import jinja2"),
    ("cryptography", "fleet/inventory/attachments.py", "import cryptography"),
    ("sqlite", "fleet/workflow/ledger.py", "import sqlite3"),
    ("sqlite", "fleet/report/journal.py", "import sqlite3"),
    ("sqlite", "fleet/relay/operate/ledger.py", "import sqlite3"),
    ("pynetdicom", "fleet/verify/sweep.py", "import pynetdicom"),
    ("click", "fleet/report/text.py", "import rich"),
    ("push-and-verify", "fleet/push/apply.py", "import fleet.verify.sweep"),
    ("relay-alone", "fleet/relay/receive/loop.py", "import fleet.inventory.model"),
    ("relay-forward", "fleet/relay/forward/throttle.py", "import fleet.relay.receive.admission"),
    ("plan-not-push", "fleet/plan/decide.py", "import fleet.push.apply"),
]


def contracts() -> list[str]:
    parser = configparser.ConfigParser()
    parser.read(CONFIG)
    return [name.rsplit(":", 1)[1] for name in parser.sections() if ":contract:" in name]


def lint(folder: Path, contract: str) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    arguments = ["--config", str(CONFIG), "--contract", contract, "--no-cache"]
    return subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {command}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_contract_has_a_planted_violation() -> None:
    assert {contract for contract, *_ in PLANTED} == set(contracts())


@pytest.mark.parametrize(("contract", "module", "line"), PLANTED)
def test_a_planted_violation_breaks_the_contract(contract: str, module: str, line: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "fleet", tmp_path / "fleet", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    done = lint(tmp_path, contract)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout


def test_init_files_hold_a_docstring_and_nothing_else() -> None:
    for path in (ROOT / "fleet").rglob("__init__.py"):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        assert lines, path
        assert lines[0].startswith('"""'), path
        assert lines[-1].endswith('"""'), path
        assert not any(line.startswith(("import ", "from ")) for line in lines), path


def test_only_the_doors_print_exit_or_read_the_environment() -> None:
    """W6: everything below `cli` returns values or calls the observer."""
    forbidden = ("print(", "sys.exit(", "os.environ", "os.getenv", "input(")
    for path in (ROOT / "fleet").rglob("*.py"):
        room = path.relative_to(ROOT / "fleet").parts[0]
        if room == "cli" or path.relative_to(ROOT / "fleet") == Path("relay/__main__.py"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            code = line.split("#", 1)[0]
            for word in forbidden:
                assert f" {word}" not in f" {code.lstrip()}" or '"' in code or "`" in code, f"{path}:{number}: {line}"


def test_modules_have_no_names_that_say_nothing() -> None:
    empty = {"utils", "helpers", "common", "misc", "base", "manager"}
    names = {path.stem for path in (ROOT / "fleet").rglob("*.py")}
    assert not names & empty


def test_help_imports_nothing_heavy() -> None:
    """W3: `fleet --help` starts without paramiko, pynetdicom, jinja2, rich and yaml."""
    code = (
        "import sys\nfrom fleet.cli.main import main\nmain(['--help'])\n"
        "heavy = {'paramiko', 'pynetdicom', 'jinja2', 'rich', 'yaml', 'sqlite3', 'jsonschema'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("folder", "also"), [("inventory", "rich"), ("tests/cases/rules/not-checked/good-both-read", "jinja2")]
)
def test_validate_starts_without_ssh_and_loads_templates_only_where_there_are_some(folder: str, also: str) -> None:
    code = (
        f"import sys\nfrom fleet.cli.main import main\nmain(['validate', '-i', {folder!r}])\n"
        f"heavy = {{'paramiko', 'pynetdicom', 'rich', 'sqlite3', {also!r}}} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
