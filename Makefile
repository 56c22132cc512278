# make demo   annotate the example clips through the embedded sandbox: no key, no network but the package index
# make test   run all tests, but for those of the next lines
# make test-browser  open the report in Chromium or Chrome
# make test-torch    run those that need torch: the genuine transformers, newest and oldest, and evaluate
# make test-wheel    build the distributions, and run all tests against the installed wheel
# make test-oldest   on Python 3.10 with the lowest versions that pyproject.toml allows
# make test-latest   on the newest Python there is, up to 3.13, with the newest versions
# make test-ray      run those that need Ray, on a cluster of three nodes on this machine
# make check  lint, format, types, layers, dependencies, docs
# make bench  speed and cost beside the vendor's SDK and quickstart, all in one run
# make bench-ray     Ray Data beside the vendor's SDK (make bench-ray SHORT=1: under two minutes)
# make chaos  random faults of service, disk, clock, signals and processes, and 200 ends of processes of each kind
#             (make chaos SHORT=1: under two minutes; make chaos SEED=17: one seed again)
# make stress faults, kill -9, several processes, very many items (make stress SHORT=1: under two minutes)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# Python of a version: on the path, or pyenv's; where there is none, the usual one, and it says so.
find_python = $(or $(firstword $(foreach python,python$(1) \
  $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/$(1).*/bin/python),\
  $(shell $(python) -c 'import sys; print(sys.executable)' 2>/dev/null))),\
  $(warning There is no Python $(1) here: $(PYTHON) takes its place)$(PYTHON))
PYTHON_OLDEST ?= $(call find_python,3.10)
PYTHON_LATEST ?= $(call find_python,3.13)
# What the tests need of the package's extras. uv lowers to their floors only those that it is told by name.
TEST_EXTRAS := av cli datasets report sandbox

.PHONY: demo test test-browser test-torch test-ray test-wheel test-oldest test-latest check bench bench-ray stress chaos docs format clean

demo: $(VENV)/.demo
	$(BIN)/python examples/01_quickstart.py

test: $(VENV)/.dev
	$(BIN)/python -m pytest

# In the browser that is there, else in Debian's Chromium.
test-browser: $(VENV)/.dev
	$(BIN)/python -m tests.with_browser.browser || \
	  { $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq chromium; }
	$(BIN)/python -m pytest tests/with_browser

test-torch: $(VENV)-torch/.ready $(VENV)-evaluate/.ready
	$(VENV)-torch/bin/python -m pytest tests/with_torch
	$(VENV)-evaluate/bin/python -m pytest tests/with_torch tests/with_evaluate

test-ray: $(VENV)-ray/.ready
	@if $(VENV)-ray/bin/python -c 'import ray'; then $(VENV)-ray/bin/python -m pytest tests/with_ray; \
	else echo 'tests/with_ray are skipped: Ray cannot be installed for this Python on this platform.'; fi

# The tests are those of the source distribution, unpacked without the package itself: only the wheel's can be imported.
test-wheel: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build --installer uv
	$(BIN)/twine check --strict dist/*
	tar -xzf dist/*.tar.gz -C dist
	rm -r dist/*/src
	$(PYTHON) -m venv --clear $(VENV)-wheel
	$(BIN)/uv pip install --quiet --python $(VENV)-wheel dist/*.whl --group test
	cd dist/*/ && $(abspath $(VENV))-wheel/bin/python -m pytest tests tests/with_wheel

test-oldest: $(VENV)/.dev
	$(PYTHON_OLDEST) -m venv --clear $(VENV)-oldest
	$(BIN)/uv pip install --quiet --python $(VENV)-oldest --resolution lowest-direct --requirements pyproject.toml \
	  $(TEST_EXTRAS:%=--extra %) --group test --editable .
	$(VENV)-oldest/bin/python -m pytest

test-latest: $(VENV)/.dev
	$(PYTHON_LATEST) -m venv --clear $(VENV)-latest
	$(BIN)/uv pip install --quiet --python $(VENV)-latest --upgrade --group test --editable .
	$(VENV)-latest/bin/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(MAKE) docs

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/datasets_scale.py

bench-ray: $(VENV)-ray/.ready
	$(VENV)-ray/bin/python benchmarks/bench_ray.py $(if $(SHORT),--short)

stress: $(VENV)/.dev
	$(BIN)/python benchmarks/stress.py $(if $(SHORT),--short)

chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos.lane $(if $(SHORT),--seeds 20) $(if $(SEED),--seed $(SEED))
	$(if $(SHORT)$(SEED),,$(BIN)/python -m tests.chaos.endings)

docs: $(VENV)/.dev
	$(BIN)/sphinx-build --fail-on-warning --keep-going -q -b html docs docs/_build/html

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) $(VENV)-* docs/_build docs/gallery docs/reference/generated build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[sandbox]'
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

# Torch comes first, from its own index: the build for the CPU, without gigabytes for graphics cards that nothing here
# uses. Where that index is out of reach, torch comes from where everything else does.
$(VENV)-torch/.ready $(VENV)-evaluate/.ready: $(VENV)-%/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet --upgrade pip
	-$(VENV)-$*/bin/python -m pip install --quiet --no-deps --retries 0 --timeout 15 --index-url $(TORCH_INDEX) --group torch
	$(VENV)-$*/bin/python -m pip install --quiet --editable . --group test-$*
	touch $@

# Ray has no wheel for some Pythons and platforms: what else fails to be installed fails in the line before.
$(VENV)-ray/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-ray
	$(VENV)-ray/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-ray/bin/python -m pip install --quiet --editable '.[datasets,sandbox]'
	-$(VENV)-ray/bin/python -m pip install --quiet --only-binary ray --editable . --group test-ray
	touch $@
