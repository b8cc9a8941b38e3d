# Two commands for a fresh machine: `make serve` and `make test`. Python 3.11 or newer, make and pip.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint deploy/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help serve test lint fuzz sbom lock bench demo clean

help: ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

serve: $(VENV)/.serve ## Install what serving needs (no torch) and start the service; PORT=9000 for another port
	exec $(BIN)/cxrserve serve $(if $(filter command line,$(origin HOST)),--host $(HOST)) $(if $(PORT),--port $(PORT))

# Debian packages are installed as root only where asked: `make debian`, `make test DEBIAN=yes`, or in CI (CI=true).
test: $(VENV)/.test $(if $(filter yes true,$(DEBIAN) $(CI)),debian,debian-missing) ## Run all tests; ARGS="-k pyramid" for some; installs 7 GB into .venv
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.test ## Format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@command -v npm >/dev/null || { echo "JavaScript cannot be checked: npm is not installed; on Debian: apt-get install npm" >&2; exit 1; }
	npm --prefix tests/browser ci --silent
	npm --prefix tests/browser run --silent lint

fuzz: $(VENV)/.test ## Fuzz the parsers and decoders; an hour, FUZZ_SECONDS=60 for a minute
	$(BIN)/python -m tests.fuzz --seconds $(or $(FUZZ_SECONDS),3600)

sbom: $(VENV)/.serve ## Print the bill of materials of what is installed here, CycloneDX JSON
	@$(BIN)/python deploy/sbom.py

# The image installs from these two files: no byte that was not there when they were written (pip --require-hashes).
LOCK := $(BIN)/uv pip compile --quiet --python-platform linux --python-version 3.11 --generate-hashes --no-header \
  --no-annotate --no-emit-index-url --constraint deploy/constraints.txt
lock: $(VENV)/.test ## Write deploy/requirements*.txt anew from deploy/constraints.txt: each version with its hashes
	$(LOCK) pyproject.toml --extra pacs --extra oidc --extra signing --output-file deploy/requirements.txt
	echo hatchling | $(LOCK) - --output-file deploy/requirements-build.txt

bench: $(VENV)/.test ## Time one image against torch eager with grad-cam; about ten minutes on a quiet machine
	$(BIN)/python -m tests.benchmarks.main_job

demo: $(VENV)/.test ## Rebuild models/demo from nothing, phantoms included; under 45 minutes on two cores
	$(BIN)/cxrserve train --recipe demo --out models/demo --replace

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

$(VENV)/.test: pyproject.toml deploy/constraints.txt tests/api/generator.txt | $(VENV)/bin/python
	@echo "installing what training and the tests need into $(VENV), about 7 GB ..."
	$(PIP) --editable '.[test,lint]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/generator \
	  --requirement tests/api/generator.txt
	@command -v npm >/dev/null && npm --prefix tests/identity ci --silent || \
	  echo "The identity provider of the tests is not installed (it needs npm); the tests that need it will be skipped."
	@touch $@ $(VENV)/.serve

# Debian's programs that the tests run. Tests whose program is missing are skipped, and say so.
MISSING = $$(for p in $$(grep -v '^\#' tests/debian-packages.txt); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done)
APT = apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends

.PHONY: debian debian-missing
debian-missing:
	@missing=$$(echo $(MISSING)); if [ -n "$$missing" ]; then \
	  echo "These Debian packages are not installed; the tests that need them will be skipped:"; \
	  echo "  $$missing"; \
	  echo "To install them as root: make debian, or make test DEBIAN=yes. Both run"; \
	  echo "  apt-get install --no-install-recommends $$missing"; \
	fi

debian: ## Install the Debian packages that the tests run (tests/debian-packages.txt); needs root
	@missing=$$(echo $(MISSING)); \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing Debian packages: $$missing"; \
	  { $(APT) $$missing >/dev/null; } || echo "could not be installed, their tests will be skipped: $$missing"; \
	else echo "not installed, their tests will be skipped (needs root and apt-get): $$missing"; fi
