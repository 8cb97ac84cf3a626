# The targets of this project. Each prepares what it needs; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/ready
ARGS ?=
WORKERS ?= 4

# What only Debian brings: programs that the tests speak to. Installing them starts none (RUNLEVEL=1).
DEBIAN := prometheus prometheus-alertmanager victoria-metrics redis-server pgbouncer nats-server

.PHONY: help setup up test check lint floors bench soak reference lock debian

help: ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Prepare .venv from requirements.lock, and nothing else

# pip brings uv, uv brings the rest, both by the hashes of the lock. Bytecode is
# compiled here because some environments forbid Python to write it later.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys, ensurepip; assert sys.version_info >= (3, 11)' 2>/dev/null || \
	  { echo "toban needs Python 3.11 or newer with venv: on Debian, apt-get install python3 python3-venv" >&2; exit 2; }
	@echo "Preparing $(VENV) ..."
	@[ -x $(RUN)/uv ] || { $(PYTHON) -m venv --clear $(VENV); \
	  awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements.lock > $(VENV)/uv.lock; \
	  $(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock; }
	@$(RUN)/uv pip sync --quiet -p $(VENV) --require-hashes requirements.lock
	@$(RUN)/uv pip install --quiet -p $(VENV) --no-deps --no-build-isolation -e .
	@$(RUN)/python -m compileall -q -j 0 $(VENV)/lib
	@touch $@

up: $(READY) ## Run toban (ARGS="--listen 127.0.0.1:9119 ...")
	@$(RUN)/python -m compileall -q src
	@exec $(RUN)/toban up $(ARGS)

test: $(READY) debian ## Run the tests (ARGS="-k name ...")
	@$(RUN)/python -m compileall -q src tests
	@$(RUN)/pytest -n $(WORKERS) $(ARGS)

lint: $(READY) ## Check the code with ruff and mypy
	@$(RUN)/ruff format --check .
	@$(RUN)/ruff check .
	@$(RUN)/mypy
	@$(RUN)/mypy bench

floors: $(READY) ## Check the imports against the layers
	@$(RUN)/lint-imports --no-logo

check: lint floors test ## Everything that a change must pass

bench: $(READY) ## Benchmark the hot paths against their peers
	@$(RUN)/python -m compileall -q src bench
	@for file in bench/[a-z]*.py; do echo; echo "== $$file"; $(RUN)/python $$file; done

soak: $(READY) debian ## Run the long forms of the tests: thousands of cases, hundreds of kills
	@$(RUN)/python -m compileall -q src tests
	@$(RUN)/pytest -n 2 -m soak --timeout 3600 $(ARGS)

reference: $(READY) ## Regenerate docs/reference from the code
	@$(RUN)/python tools/reference.py

lock: ## Renew requirements.lock from pyproject.toml (needs uv on the PATH)
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --upgrade --quiet --output-file requirements.lock

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
