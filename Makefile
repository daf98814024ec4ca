# Two commands for a fresh machine: `make demo` and `make test`. Both make .venv and install into it first.
PYTHON ?= python3
BIN := .venv/bin
TYPED := platform/gaitforge trainers search_spaces dashboard benchmarks docs examples tests

CORES := $(shell getconf _NPROCESSORS_ONLN)
# a slow test starts Ray, Chromium or a whole line: four cores for each that runs at once
AT_ONCE ?= $(shell expr $(CORES) / 4 \| 1)
FAST := not slow and not browser and not cluster and not gpu

.PHONY: demo test check types fast slow docs audit install

demo: install
	$(BIN)/gaitforge demo

test: install check fast slow

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(TYPED)

# the Pythons that the tests do not run on: their types, with the installed packages of this one
types: install
	$(BIN)/mypy --python-version 3.12 $(TYPED)
	$(BIN)/mypy --python-version 3.13 $(TYPED)

fast: install
	$(BIN)/python -m pytest -q -n $(CORES) -m "$(FAST)"

# files of one process stay together, since they share what is dear to make
slow: install
	$(BIN)/python -m pytest -q $(if $(filter-out 1,$(AT_ONCE)),-n $(AT_ONCE) --dist loadfile) -m "not ($(FAST))"

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
