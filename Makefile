# `make demo` and `make test` set up everything they need: a virtual environment here, and as root the Debian
# packages that the tests talk to (no daemon is started on this machine).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
ROOT := $(shell [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo yes)

.PHONY: demo test check unit lab wheel bench soak packages clean

demo: $(STAMP)
	$(BIN)/fleet demo

# Everything: static gates are in `check`, so that a failing test is seen even when a line is too long.
test: $(STAMP) packages
	$(BIN)/python -m pytest -n 2 --dist loadfile tests --ignore=tests/lab
	$(BIN)/python -m pytest tests/lab

unit: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests --ignore=tests/lab -m "not interop"

lab: $(STAMP) packages
	$(BIN)/python -m pytest tests/lab

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --no-isolation --wheel --outdir dist .

bench: $(STAMP)
	$(BIN)/python -m benchmarks.run --write

# Full counts of what CI runs a sample of.
soak: $(STAMP) packages
	$(BIN)/pip install -q --disable-pip-version-check -e '.[fuzz]'
	FLEET_SOAK=1 $(BIN)/python -m pytest tests

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  [ -n "$(ROOT)" ] && apt-get update -q && apt-get install -yq python3-venv; } || { \
	  echo "Python's venv is missing: as root, apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

packages:
	@if [ -n "$(ROOT)" ]; then sh tests/install-packages.sh tests/debian-packages.txt; \
	else echo "not root, or no apt: tests of real products run only where these are installed"; fi

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
