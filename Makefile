# One command surface for people and for CI. `make help` lists it.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
MQTT_JS := mqtt@5.16.0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run demo test test-servers soak fuzz check bench format clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: $(VENV)/.run ## Set up, then serve registration and broker, and print what to paste next
	@FLEETKEY_STARTED_BY=make exec $(BIN)/fleetkey serve --sample $(ARGS)

demo: $(VENV)/.run ## Tell the whole story in the terminal, on a temporary fleet
	@exec $(BIN)/fleetkey demo $(ARGS)

# A worker takes ten seconds to compile the tests unless it finds them compiled: keep them from run to run, whatever the shell says.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.dev ## Set up, then run all tests
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-servers: $(VENV)/.dev $(VENV)/.node ## Run the tests that need Node, for which npm installs mqtt.js
	@$(BIN)/python -m pytest -m servers tests/servers $(ARGS)

soak: $(VENV)/.dev ## 500 kill -9 under registration load
	@SOAK_KILLS=500 $(BIN)/python -m pytest -m soak -s --timeout 7200 tests/e2e/test_kill9.py $(ARGS)

fuzz: $(VENV)/.dev ## 1,000,000 mutated packets of both versions, and 100,000 random steps held against a model
	@FUZZ_PACKETS=1000000 $(BIN)/python -m pytest -m soak -s --timeout 7200 tests/fuzz/test_fuzz_packets.py $(ARGS)
	@FUZZ_STEPS=100000 $(BIN)/python -m pytest -s tests/stateful $(ARGS)

check: $(VENV)/.dev ## Lint, format, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.bench ## Measure, side by side with a peer, as ratios
	@$(BIN)/python -m benchmarks $(ARGS)

format: $(VENV)/.dev ## Rewrite the code in the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## Remove what the commands above made, but never the fleet's data
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Fleetkey needs Python 3.11 or newer; '$(PYTHON)' is not. Install one and run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "Could not make a virtual environment in $(CURDIR)/$(VENV): check write permission and that Python's venv module is installed (Debian: python3-venv)." >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) (once; a minute or so)"
	@$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) with the test tools (once; a minute or so)"
	@$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.node: Makefile | $(VENV)/bin/python
	@command -v node >/dev/null && command -v npm >/dev/null || { \
	  echo "These tests need Node and npm; install them (Debian: nodejs, npm)." >&2; exit 1; }
	@npm install --silent --no-audit --no-fund --prefix $(VENV)/node $(MQTT_JS)
	@touch $@

$(VENV)/.bench: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) with the benchmark peers (once)"
	@$(BIN)/pip install --quiet --editable '.[dev,bench]'
	@touch $@ $(VENV)/.dev $(VENV)/.run
