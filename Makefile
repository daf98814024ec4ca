# Two commands for a fresh machine: `make demo` and `make test`. Both make .venv and install into it first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check fast install

demo: install
	$(BIN)/gaitforge demo

test: install check
	$(BIN)/python -m pytest -q

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy platform/gaitforge trainers search_spaces dashboard benchmarks tests

fast: install
	$(BIN)/python -m pytest -q -m "not slow and not browser and not cluster and not gpu"

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
