# Everything a checkout needs: `make up` for a cluster, `make test` for the tests. `make help` lists the rest.

VENV := .venv
PYTHON ?= python3
UV_VERSION := 0.13.8
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin/pilothouse
# What the tests use beside what a node needs, which the requirements below name.
TEST_PACKAGES := busybox-static curl iproute2 etcd-server openssl

.PHONY: help setup up down test test-packages lint bench clean

help:
	@echo "make up      set up what is missing and start a cluster on this machine (root)"
	@echo "make down    stop it; its data stays"
	@echo "make test    run all tests"
	@echo "make lint    types, style, layers"
	@echo "make bench   measure the budgets of docs/architecture.md"
	@echo "make clean   remove the virtual environment and what was built"

setup: $(STAMP)

# The virtual environment, with exactly the locked dependencies and Pilothouse itself, compiled so that the first start is fast.
$(STAMP): pyproject.toml uv.lock tools/schema_data.py tools/presence.txt tools/enums.txt tools/go_names.txt
	@command -v $(PYTHON) >/dev/null || { echo "Pilothouse needs Python 3.11 or later: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11; give another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Missing system package, installing: python3-venv"; apt-get update -qq && apt-get install -y -qq python3-venv; }
	@echo "Setting up the virtual environment in $(VENV) with the locked dependencies"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/uv sync --frozen --active --quiet --inexact --compile-bytecode --reinstall-package pilothouse
	@$(VENV)/bin/python -m compileall -q pilothouse
	@touch $@

up: $(STAMP)
	@$(RUN) up
	@echo "  (pilothouse is $(CURDIR)/$(RUN); add it to your PATH: export PATH=\"$(CURDIR)/$(VENV)/bin:\$$PATH\")"

down: $(STAMP)
	@$(RUN) down

# With root the tests start real containers and real nft rules; what the machine lacks for them is installed, and named first.
test-packages: $(STAMP)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  missing="$$($(VENV)/bin/python -m pilothouse.main.runtime.requirements)"; \
	  for package in $(TEST_PACKAGES); do dpkg -s $$package >/dev/null 2>&1 || missing="$$missing $$package"; done; \
	  if [ -n "$$(echo $$missing)" ]; then echo "Missing system packages, installing:" $$missing; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi; \
	fi

test: test-packages
	$(VENV)/bin/python -m pytest

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: test-packages
	$(VENV)/bin/python -m bench

clean:
	rm -rf $(VENV) build dist pilothouse/api/schema/data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
