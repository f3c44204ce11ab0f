#!/usr/bin/env bash
# Run every part of the tests, whatever fails before; say at the end what was run and what was not.
# In CI (CI=true) a part that could not run is a failure.
#
# Two lanes share the time, one for each set of libraries; what the second one says comes when the
# first has ended. The hosts of the lab are real systems with times of their own, and run alone.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
export PYTHON
unset PYTHONPATH PYTHONDONTWRITEBYTECODE
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'kill 0' INT TERM

part() {   # name command...
    local name=$1 began=$SECONDS status
    shift
    printf '\n=== %s\n' "$name"
    "$@"
    status=$?
    if [ $status -eq 0 ]; then
        echo "ran      $name ($((SECONDS - began)) s)" >> "$scratch/results"
    else
        echo "FAILED   $name (exit status $status, $((SECONDS - began)) s)" >> "$scratch/results"
    fi
}

not_run() {   # name reason
    echo "NOT RUN  $1: $2" >> "$scratch/results"
}

newest() {
    part "lint: ruff check" .venv/bin/ruff check .
    part "lint: ruff format" .venv/bin/ruff format --check .
    part "types: mypy --strict" packaging/types.sh .venv
    part "unit" .venv/bin/pytest -q tests/unit
    part "namespaces" .venv/bin/pytest -q tests/netns
}

oldest() {
    if ! packaging/setup.sh .venv-oldest oldest; then
        not_run "oldest libraries" "the environment could not be made"
        return
    fi
    part "unit, oldest libraries" .venv-oldest/bin/pytest -q tests/unit
    # Left out: the simulated VPC itself, and what the kernel does with the same rules and routes.
    part "namespaces, oldest libraries" env EC2NET_RACES=200 .venv-oldest/bin/pytest -q tests/netns \
        --ignore-glob='*/test_vpc_*' --ignore-glob='*/test_vips.py' --ignore-glob='*/test_ways.py' \
        --ignore-glob='*/test_published_port.py' --ignore-glob='*/test_demo.py'
}

packages() {
    if packaging/setup.sh --packages; then
        part "packages: build" make --silent packages
        part "packages: contents, pip" .venv/bin/pytest -q tests/packages
    else
        not_run "packages" "what they are built with could not be installed"
    fi
}

lab() {
    if [ "$(id -u)" -ne 0 ]; then
        not_run "lab hosts" "needs root"
    elif packaging/setup.sh --lab; then
        part "lab hosts" .venv/bin/pytest -q tests/lab
    else
        not_run "lab hosts" "what it needs could not be installed"
    fi
}

packaging/setup.sh .venv newest || exit 1
oldest > "$scratch/oldest" 2>&1 &
newest
wait
cat "$scratch/oldest"
packages
lab

printf '\n=== summary\n'
cat "$scratch/results"
if grep -q '^FAILED' "$scratch/results" || { [ "${CI:-}" = true ] && grep -q '^NOT RUN' "$scratch/results"; }
then
    echo "NOT everything passed"
    exit 1
fi
echo "all parts passed"
