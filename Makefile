# ec2net: `make demo` and `make test` install what they need on a fresh Debian 12 machine. They write
# only to .venv, .venv-oldest and the cache for root file systems, and (as root) install missing
# Debian packages.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
PY := $(VENV)/bin/python
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/ec2net/__init__.py)
# The sources of a package. Folders are included, since their times show deleted files.
SOURCES := $(shell find -L src systemd packaging docs *.md *.in *.toml LICENSE \
	-not -path '*/__pycache__*' -not -path '*.egg-info*')
export PYTHONPATH :=

.PHONY: help setup demo check test test-all lint types unit netns lab bench bench-boot oldest \
	packages packages-test release release-check clean

help:           ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup:          ## install missing Debian packages (as root) and the virtual environment
	@PYTHON=$(PYTHON) packaging/setup.sh $(VENV) newest

demo:           ## show ec2net in a simulated VPC
	@PYTHON=$(PYTHON) packaging/setup.sh $(VENV) newest >&2
	@$(VENV)/bin/ec2net demo

check:          ## a first answer in two minutes: lint, spelling, types, unit tests
	@$(PYTHON) tests/run.py check

test:           ## CI's command: every behaviour once, on the real thing (20 minutes on 2 CPUs)
	@$(PYTHON) tests/run.py test

test-all:       ## the full cross product, in parts; PART='all unit' runs one part
	@$(PYTHON) tests/run.py all $(if $(PART),'$(PART)')

lint: setup     ## ruff: style and formatting; codespell: spelling
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/codespell

types: setup    ## mypy --strict over the program and the tests
	@packaging/types.sh $(VENV)

unit: setup     ## tests that need no privilege
	@$(VENV)/bin/pytest -q tests/unit

netns: setup    ## tests of the whole program in network namespaces
	@$(VENV)/bin/pytest -q tests/netns

oldest:         ## unit and namespace tests with the oldest supported libraries
	@PYTHON=$(PYTHON) packaging/setup.sh $(OLDEST) oldest
	@$(OLDEST)/bin/pytest -q tests/unit tests/netns

packages: setup ## build sdist, wheel, deb, rpms and all other files of a release in dist/
	@packaging/setup.sh --packages
	@$(MAKE) --silent --always-make dist/complete
	@ls dist

release: packages  ## build the same, check it and name the next step
	@cd dist && sha256sum --quiet --check SHA256SUMS
	@echo "release: dist/ has all files of $(VERSION); next: make release-check, git tag v$(VERSION)"

packages-test: setup  ## build, check and install the packages (root only)
	@packaging/setup.sh --packages && packaging/setup.sh --lab
	@$(VENV)/bin/pytest -q tests/packages tests/lab/test_lab_package.py tests/lab/test_lab_repository.py \
		tests/lab/test_lab_autopkgtest.py

dist/ec2net_$(VERSION)-1_all.deb: $(SOURCES)
	@packaging/build.sh $(PY) dist deb

# The tarball has the tests, too.
dist/complete: $(SOURCES) $(shell find tests -type f -name '*.*' -not -path '*/__pycache__/*')
	@rm -rf dist && packaging/build.sh $(PY) dist release && touch $@

release-check:  ## check whether this commit can be released: version, changelog, tree, tags
	@packaging/release-check.sh

lab: setup      ## tests on hosts with real systemd (root only)
	@packaging/setup.sh --packages
	@packaging/setup.sh --lab
	@$(MAKE) --silent dist/complete
	@$(VENV)/bin/pytest -q tests/lab

bench: setup    ## cost of a pass, as ratios; make bench AGAINST=REV compares with a revision
	@PYTHONPATH=tests/support $(PY) tests/bench/bench.py $(if $(AGAINST),--against '$(AGAINST)') $(if $(LARGEST),--largest)

bench-boot: setup  ## from PID 1 to network-online.target, in ms (root only, ten minutes)
	@packaging/setup.sh --packages && packaging/setup.sh --lab
	@PYTHONPATH=tests/support $(PY) tests/bench/boots.py

clean:          ## remove the checkout's environments and caches
	rm -rf $(VENV) $(OLDEST) .cache build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
