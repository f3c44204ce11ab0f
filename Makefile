# ec2net: `make demo` and `make test` do all their own set-up on a fresh Debian 12 machine.
# Nothing outside .venv, .venv-oldest and the cache for root file systems is written, except
# Debian packages that are missing (as root only).
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
PY := $(VENV)/bin/python
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/ec2net/__init__.py)
# What a package is made of; folders, since they tell of a file that is gone.
SOURCES := $(shell find -L src systemd packaging docs *.md *.in *.toml LICENSE \
	-not -path '*/__pycache__*' -not -path '*.egg-info*')
export PYTHONPATH :=

.PHONY: help setup demo check test test-all lint types unit netns lab bench oldest packages \
	packages-test release release-check clean

help:           ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup:          ## install what is missing: Debian packages (as root), the virtual environment
	@PYTHON=$(PYTHON) packaging/setup.sh $(VENV) newest

demo:           ## show everything at work in a simulated VPC
	@PYTHON=$(PYTHON) packaging/setup.sh $(VENV) newest >&2
	@$(VENV)/bin/ec2net demo

check:          ## a first answer in two minutes: lint, types, unit tests
	@$(PYTHON) tests/run.py check

test:           ## what CI runs: every behaviour on the real thing once (20 minutes on 2 CPUs)
	@$(PYTHON) tests/run.py test

test-all:       ## the full cross product, in parts; make test-all PART='all unit' runs one of them
	@$(PYTHON) tests/run.py all $(if $(PART),'$(PART)')

lint: setup     ## ruff: style and formatting; codespell: spelling
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/codespell

types: setup    ## mypy --strict over the program and the tests
	@packaging/types.sh $(VENV)

unit: setup     ## tests that need no privilege
	@$(VENV)/bin/pytest -q tests/unit

netns: setup    ## the whole program in network namespaces
	@$(VENV)/bin/pytest -q tests/netns

oldest:         ## unit and namespace tests with the oldest supported libraries
	@PYTHON=$(PYTHON) packaging/setup.sh $(OLDEST) oldest
	@$(OLDEST)/bin/pytest -q tests/unit tests/netns

packages: setup ## sdist, wheel, deb and rpms in dist/, and everything else of a release
	@packaging/setup.sh --packages
	@$(MAKE) --silent --always-make dist/complete
	@ls dist

release: packages  ## the same, and what to do with it
	@cd dist && sha256sum --quiet --check SHA256SUMS
	@echo "release: dist/ has all files of $(VERSION); next: make release-check, git tag v$(VERSION)"

packages-test: setup  ## packages: built, looked into, installed (root only)
	@packaging/setup.sh --packages && packaging/setup.sh --lab
	@$(VENV)/bin/pytest -q tests/packages tests/lab/test_lab_package.py tests/lab/test_lab_repository.py \
		tests/lab/test_lab_autopkgtest.py

dist/ec2net_$(VERSION)-1_all.deb: $(SOURCES)
	@packaging/build.sh $(PY) dist deb

# The tarball has the tests, too.
dist/complete: $(SOURCES) $(shell find tests -type f -name '*.*' -not -path '*/__pycache__/*')
	@rm -rf dist && packaging/build.sh $(PY) dist release && touch $@

release-check:  ## whether this commit can be released: version, changelog, tree, tags
	@packaging/release-check.sh

lab: setup      ## hosts with real systemd (root only)
	@packaging/setup.sh --packages
	@packaging/setup.sh --lab
	@$(MAKE) --silent dist/complete
	@$(VENV)/bin/pytest -q tests/lab

bench: setup    ## cost of a pass, as ratios; make bench AGAINST=REV compares with a revision
	@PYTHONPATH=tests/support $(PY) tests/bench/bench.py $(if $(AGAINST),--against '$(AGAINST)')

clean:          ## remove environments and caches of the checkout
	rm -rf $(VENV) $(OLDEST) .cache build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
