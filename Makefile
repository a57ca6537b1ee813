# make demo       trains a model and shows what was compiled
# make demo-cuda  the same on a GPU; where there is none, in emulation
# make test       style, types, floors, then the tests
# make format     mends what style can mend by itself
# make clean      removes the environments and all that was built
#
# Everything is installed into $(VENV), and again only when pyproject.toml has changed.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= auto
EXTRAS ?= dev
PYTEST_ARGS ?=

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable
PYTEST := $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal --durations=10 --durations-min=5 $(PYTEST_ARGS)

# One BLAS thread per test worker: more would only compete for the same cores.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
# Tests start Python often: what it has compiled is kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-cuda test lint check format test-slow test-newest test-numba-cuda test-numba-cuda-mlir clean

demo: $(VENV)/demo.installed
	$(BIN)/python examples/demo.py

# What a GPU needs is nearly 1 GB: it is installed where there is a driver.
demo-cuda: $(VENV)/demo.installed
	@if [ -e /dev/nvidiactl ]; then $(INSTALL) '.[demo,cuda]'; fi
	$(BIN)/python examples/demo.py --device gpu

test: lint check

lint: $(VENV)/dev.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo

check: $(VENV)/dev.installed
	$(PYTEST)

format: $(VENV)/dev.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# What takes long, and only that. pytest's status 5 says that no test carries the marker.
test-slow: $(VENV)/dev.installed
	$(PYTEST) -m slow || test $$? -eq 5

# The same tests on the newest Python of this machine, where that is newer than the one of $(VENV); kernels for GPUs are
# text that does not depend on it.
test-newest: $(VENV)/dev.installed
	@if newest="$$(.ci/newest-python $(BIN)/python)"; then \
	  $(MAKE) --no-print-directory check VENV=.venv-newest PYTHON="$$newest" PYTEST_ARGS="--ignore=tests/cuda"; \
	else \
	  echo "No Python newer than $$($(BIN)/python -V) that graphad supports is on this machine."; \
	fi

# The readable form of CUDA kernels, in every case, compiled by numba-cuda, and by its successor. In environments of their
# own: numba-cuda hooks into every start of Python, and both are large.
NUMBA_TESTS = tests/cuda/numba -m 'slow or not slow'

test-numba-cuda:
	@$(MAKE) --no-print-directory check VENV=.venv-numba-cuda EXTRAS=dev,cuda-numba PYTEST_ARGS="$(NUMBA_TESTS)"

test-numba-cuda-mlir:
	@$(MAKE) --no-print-directory check VENV=.venv-numba-cuda-mlir EXTRAS=dev,cuda-numba-mlir PYTEST_ARGS="$(NUMBA_TESTS)"

clean:
	rm -rf .venv .venv-newest .venv-numba-cuda .venv-numba-cuda-mlir .graphad-cache .hypothesis .import_linter_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "graphad needs Python 3.11 or newer, and $(PYTHON) is not; try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/demo.installed: $(VENV)/created pyproject.toml
	$(INSTALL) '.[demo]'
	@touch $@

$(VENV)/dev.installed: $(VENV)/created pyproject.toml
	$(INSTALL) '.[$(EXTRAS)]'
	@touch $@ $(VENV)/demo.installed
