#!/usr/bin/env bash
# Run every part of the tests, whatever fails before; say at the end what was run and what was not.
# In CI (CI=true) a part that could not run is a failure.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
export PYTHON
unset PYTHONPATH PYTHONDONTWRITEBYTECODE
results=()
failed=0

part() {   # name command...
    local name=$1 began=$SECONDS status
    shift
    printf '\n=== %s\n' "$name"
    "$@"
    status=$?
    if [ $status -eq 0 ]; then
        results+=("ran      $name ($((SECONDS - began)) s)")
    else
        results+=("FAILED   $name (exit status $status, $((SECONDS - began)) s)")
        failed=1
    fi
}

not_run() {   # name reason
    results+=("NOT RUN  $1: $2")
    [ "${CI:-}" = true ] && failed=1
}

packaging/setup.sh .venv newest || exit 1
part "lint: ruff check" .venv/bin/ruff check .
part "lint: ruff format" .venv/bin/ruff format --check .
part "types: mypy --strict" packaging/types.sh .venv
part "unit" .venv/bin/pytest -q tests/unit
part "namespaces" .venv/bin/pytest -q tests/netns
if packaging/setup.sh .venv-oldest oldest; then
    part "unit, oldest libraries" .venv-oldest/bin/pytest -q tests/unit
    # Left out: the simulated VPC itself, and what the kernel does with the same rules and routes.
    part "namespaces, oldest libraries" env EC2NET_RACES=200 .venv-oldest/bin/pytest -q tests/netns \
        --ignore-glob='*/test_vpc_*' --ignore-glob='*/test_vips.py' --ignore-glob='*/test_ways.py' \
        --ignore-glob='*/test_published_port.py' --ignore-glob='*/test_demo.py'
else
    not_run "oldest libraries" "the environment could not be made"
fi
if packaging/setup.sh --packages; then
    part "packages: build" make --silent packages
    part "packages: contents, pip" .venv/bin/pytest -q tests/packages
else
    not_run "packages" "what they are built with could not be installed"
fi
if [ -d tests/lab ]; then
    if [ "$(id -u)" -ne 0 ]; then
        not_run "lab hosts" "needs root"
    elif packaging/setup.sh --lab; then
        part "lab hosts" .venv/bin/pytest -q tests/lab
    else
        not_run "lab hosts" "what it needs could not be installed"
    fi
fi

printf '\n=== summary\n'
printf '%s\n' "${results[@]}"
if [ $failed -eq 0 ]; then
    echo "all parts passed"
else
    echo "NOT everything passed"
fi
exit $failed
