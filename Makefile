# make demo   annotate the example clips through the embedded sandbox: no key, no network but the package index
# make test   run all tests
# make check  lint, format, types, layers, docs
# make bench  speed and cost beside the vendor's SDK and quickstart, all in one run
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check bench docs format clean

demo: $(VENV)/.demo
	$(BIN)/python examples/01_quickstart.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) docs

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/datasets_scale.py

docs: $(VENV)/.dev
	$(BIN)/sphinx-build --fail-on-warning --keep-going -q -b html docs docs/_build/html

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) docs/_build docs/reference/generated build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[sandbox]'
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@
