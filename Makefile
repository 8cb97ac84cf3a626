# The targets of this project. Each prepares what it needs; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/ready
TOOLS := $(VENV)/ready-dev
DEMO := $(VENV)/ready-demo
ARGS ?=
WORKERS ?= 4

# What only Debian brings: programs that the tests speak to. Installing them starts none (RUNLEVEL=1).
DEBIAN := chromium fonts-noto-cjk prometheus prometheus-alertmanager victoria-metrics redis-server pgbouncer age \
          logrotate nats-server nginx-light syslog-ng-core syslog-ng-mod-http systemd

.PHONY: help setup up demo wheel test check lint floors bench soak reference lock debian

help: ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(TOOLS) ## Prepare .venv with all that development needs, from requirements-dev.lock

# pip brings uv, uv brings the rest; all by the hashes of the locks, also what builds toban. Bytecode is compiled here
# because some environments forbid Python to write it later.
INSTALL_TOBAN := $(RUN)/uv pip install --quiet -p $(VENV) --no-deps --build-constraints requirements-dev.lock \
  --require-build-hashes -e .
COMPILE := $(RUN)/python -m compileall -q -j 0 $(VENV)/lib

# `install` and not `sync`: what development needs stays when it is there.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys, ensurepip; assert sys.version_info >= (3, 11)' 2>/dev/null || \
	  { echo "toban needs Python 3.11 or newer with venv: on Debian, apt-get install python3 python3-venv" >&2; exit 2; }
	@echo "Preparing $(VENV) ..."
	@[ -x $(RUN)/uv ] || { $(PYTHON) -m venv --clear $(VENV); tools/install-uv $(VENV); }
	@$(RUN)/uv pip install --quiet -p $(VENV) --require-hashes -r requirements.lock
	@$(INSTALL_TOBAN)
	@$(COMPILE)
	@touch $@

$(TOOLS): $(READY) requirements-dev.lock
	@echo "Preparing $(VENV) for development ..."
	@$(RUN)/uv pip sync --quiet -p $(VENV) --require-hashes requirements-dev.lock
	@$(INSTALL_TOBAN)
	@$(COMPILE)
	@touch $@

# The extra `demo`, in the versions of the lock.
$(DEMO): $(READY)
	@$(RUN)/uv pip install --quiet -p $(VENV) --constraints requirements-dev.lock -r pyproject.toml --extra demo
	@touch $@

up: $(READY) ## Run toban (ARGS="--listen 127.0.0.1:9119 ...")
	@$(RUN)/python -m compileall -q src
	@exec $(RUN)/toban up $(ARGS)

demo: $(DEMO) ## Run a real Vendure shop with customers, monitored by toban (ARGS="--break database ...")
	@exec $(RUN)/toban demo $(ARGS)

wheel: $(READY) ## Build dist/toban-*.whl, for pipx, uv tool or pip
	@$(RUN)/uv build --quiet --wheel --build-constraints requirements-dev.lock --require-hashes --out-dir dist

# pytest compiles test files by itself, and each worker compiles all of them unless bytecode may be written.
test: $(TOOLS) debian ## Run the tests (ARGS="-k name ...")
	@$(RUN)/python -m compileall -q -x '/(test_[^/]*|conftest)\.py$$' src tests
	@PYTHONDONTWRITEBYTECODE= $(RUN)/pytest -n $(WORKERS) $(ARGS)

lint: $(TOOLS) ## Check the code with ruff and mypy
	@$(RUN)/ruff format --check .
	@$(RUN)/ruff check .
	@$(RUN)/mypy
	@$(RUN)/mypy bench

floors: $(TOOLS) ## Check the imports against the layers
	@$(RUN)/lint-imports --no-logo

check: lint floors test ## Everything that a change must pass

bench: $(TOOLS) ## Benchmark the hot paths against their peers
	@$(RUN)/python -m compileall -q src bench
	@for file in bench/[a-z]*.py; do echo; echo "== $$file"; $(RUN)/python $$file; done

soak: $(TOOLS) debian ## Run the long forms of the tests: thousands of cases, hundreds of kills
	@$(RUN)/python -m compileall -q src tests
	@$(RUN)/pytest -n 2 -m soak --timeout 3600 $(ARGS)

reference: $(TOOLS) ## Regenerate docs/reference from the code
	@$(RUN)/python tools/reference.py

COMPILE_LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate --quiet

lock: ## Renew both locks from pyproject.toml (needs uv on the PATH)
	$(COMPILE_LOCK) --all-extras --group dev --upgrade --output-file requirements-dev.lock
	$(COMPILE_LOCK) --constraints requirements-dev.lock --upgrade --output-file requirements.lock

# As root on Debian what is missing is installed; else the tests that need it are skipped by name.
debian:
	@missing=""; for package in $(DEBIAN); do dpkg -s $$package >/dev/null 2>&1 || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing$$missing ..."; \
	    apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
	      apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends $$missing >/dev/null; \
	  else echo "Not here:$$missing (the tests that need them are skipped)"; fi; \
	fi
