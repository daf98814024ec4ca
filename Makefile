# Two commands for a fresh machine: `make demo` and `make test`. Both make .venv and install into it first.
PYTHON ?= python3
BIN := .venv/bin
TYPED := platform/gaitforge trainers search_spaces dashboard benchmarks docs examples tests

.PHONY: demo test check types fast docs audit install

demo: install
	$(BIN)/gaitforge demo

test: install check
	$(BIN)/python -m pytest -q

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(TYPED)

# the Pythons that the tests do not run on: their types, with the installed packages of this one
types: install
	$(BIN)/mypy --python-version 3.12 $(TYPED)
	$(BIN)/mypy --python-version 3.13 $(TYPED)

fast: install
	$(BIN)/python -m pytest -q -m "not slow and not browser and not cluster and not gpu"

# the pages of docs/ as a site in work/site
docs: install
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	$(BIN)/mkdocs build --strict

# known vulnerabilities of the versions in constraints.txt
audit:
	.ci/audit constraints.txt

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
