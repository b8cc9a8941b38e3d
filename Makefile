# Two commands for a fresh machine: `make serve` and `make test`. Python 3.11 or newer, make and pip.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint deploy/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help serve test lint bench demo clean

help: ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

serve: $(VENV)/.serve ## Install what serving needs (no torch) and start the service; PORT=9000 for another port
	exec $(BIN)/cxrserve serve $(if $(filter command line,$(origin HOST)),--host $(HOST)) $(if $(PORT),--port $(PORT))

test: $(VENV)/.test debian ## Install what the tests need and run them all; ARGS="-k pyramid" for some
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.test ## Format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.test ## The benchmark behind the README's table; about ten minutes on a quiet machine
	$(BIN)/python -m tests.benchmarks.main_job

demo: $(VENV)/.test ## Rebuild models/demo from nothing, phantoms included; under 45 minutes on two cores
	$(BIN)/cxrserve train --recipe demo --out models/demo

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cxrserve needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1); set PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.serve: pyproject.toml deploy/constraints.txt | $(VENV)/bin/python
	@echo "installing what serving needs into $(VENV) ..."
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml deploy/constraints.txt | $(VENV)/bin/python
	@echo "installing what training and the tests need into $(VENV), about 7 GB ..."
	$(PIP) --editable '.[test,lint]'
	@touch $@ $(VENV)/.serve

# Debian's programs that the tests run for real. Where they cannot be installed, their tests say so and skip.
.PHONY: debian
debian:
	@missing=$$(for p in $$(grep -v '^#' tests/debian-packages.txt); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; } || \
	  echo "could not be installed, their tests are skipped:" $$missing; \
	else echo "not installed, their tests are skipped:" $$missing; fi
