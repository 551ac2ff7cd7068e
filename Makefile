# The project's commands; `make` lists them. Each does all its own set-up, and can be run twice.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.NOTPARALLEL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON ?= python3
# Never the user's current context: a cluster of our own, or a copy of what AGENTRUN_TEST_KUBECONFIG names.
export KUBECONFIG := $(CURDIR)/.cluster/kubeconfig
# For tests that call kubectl and helm: the machine's, or else those that `make cluster` fetched.
export PATH := $(PATH):$(CURDIR)/.cluster/bin:$(CURDIR)/.cluster/python-tools/bin

.PHONY: help demo test lint unit simulate e2e crash-matrix bench cluster images install down clean python

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

demo: install ## run an example on a real cluster, with an approval in the middle; the cluster stays up
	@$(PYTHON) -m tests.demo

test: lint unit e2e ## lint, unit tests, and all tests on a real cluster

lint: .venv/ready ## ruff, mypy and the rules who imports whom
	source .venv/bin/activate
	ruff check .
	ruff format --check .
	mypy --package agentruns --package tests
	lint-imports

unit: .venv/ready ## tests without a cluster; what decides is covered in every branch
	source .venv/bin/activate
	pytest tests/unit tests/cluster --cov --cov-fail-under=100
	pytest tests/simulation

N ?= 100000
simulate: .venv/ready ## N seeds of the simulation, 100,000 unless told otherwise; every seed that breaks a promise is named
	source .venv/bin/activate
	python -m tests.simulation --count $(N)

e2e: .venv/ready install ## tests on the cluster, with the chart installed
	source .venv/bin/activate
	pytest tests/integration tests/e2e

crash-matrix: .venv/ready install ## kill the operator at every point of a step's life; writes docs/crash-matrix.md
	source .venv/bin/activate
	python -m tests.crashes

bench: .venv/ready install ## measure, beside bare pods on the same cluster, and print a table
	source .venv/bin/activate
	python -m tests.bench

cluster: python ## bring up a cluster of one node; its kubeconfig is .cluster/kubeconfig
	@$(PYTHON) -m tests.cluster up

images: cluster ## build the images and load them into the cluster
	@if [[ -n $${AGENTRUN_TEST_KUBECONFIG:-} ]]; then
	  echo "a cluster that you name must have the images, or be able to pull them"
	else
	  $(PYTHON) -m tests.cluster images
	fi

install: images ## install the chart into the cluster, and wait until it works
	@$(PYTHON) -m tests.install

down: python ## take the cluster down; what was built stays
	@$(PYTHON) -m tests.cluster down

clean: down ## take the cluster down and remove all that was made
	rm -rf .cluster .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	  { echo "error: Python 3.11 or newer is needed; name it like this: make PYTHON=python3.13 ..." >&2; exit 1; }

.venv/ready: pyproject.toml constraints.txt | python
	@echo "--- Python environment"
	$(PYTHON) -m venv --clear .venv ||
	  { echo "error: $(PYTHON) cannot make environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	export PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt
	.venv/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
