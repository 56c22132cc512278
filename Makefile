# make demo   annotate the example clips through the embedded sandbox: no key, no network but the package index
# make test   run all tests, but for those of the next line
# make test-browser  open the report in Chromium or Chrome
# make check  lint, format, types, layers, docs
# make bench  speed and cost beside the vendor's SDK and quickstart, all in one run
# make stress faults, kill -9, several processes, very many items (make stress SHORT=1: under two minutes)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: demo test test-browser check bench stress docs format clean

demo: $(VENV)/.demo
	$(BIN)/python examples/01_quickstart.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest

# In the browser that is there, else in Debian's Chromium.
test-browser: $(VENV)/.dev
	$(BIN)/python -m tests.with_browser.browser || \
	  { $(SUDO) apt-get update -qq && $(SUDO) apt-get install --yes -qq chromium; }
	$(BIN)/python -m pytest tests/with_browser

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) docs

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/datasets_scale.py

stress: $(VENV)/.dev
	$(BIN)/python benchmarks/stress.py $(if $(SHORT),--short)

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
