# The verbs of this project. Each prepares what it needs; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/ready
ARGS ?=

.PHONY: help setup up test check bench soak lint floors lock debian

help: ## List the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## Prepare .venv from requirements.lock

# uv is taken from the same lock by pip, then installs the rest. Bytecode is
# compiled here because some environments forbid Python to write it later.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; assert sys.version_info >= (3, 11), sys.version' 2>/dev/null || \
	  { echo "toban needs Python 3.11 or newer with venv: on Debian, apt-get install python3-venv (or make setup PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements.lock > $(VENV)/uv.lock
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	$(RUN)/uv pip sync --quiet -p $(VENV) --require-hashes requirements.lock
	$(RUN)/uv pip install --quiet -p $(VENV) --no-deps --no-build-isolation -e .
	$(RUN)/python -m compileall -q -j 0 $(VENV)/lib src
	@touch $@

up: $(READY) ## Run toban (ARGS="--listen 127.0.0.1:9119 ...")
	@$(RUN)/python -m compileall -q src
	$(RUN)/toban up $(ARGS)
