#!/usr/bin/env bash
# mypy --strict over the package and the tests: types.sh VENV
# The tests are no package, and each folder of them is a search path of its own, as for pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
"$1/bin/mypy"
for folder in unit netns lab bench packages; do
    MYPYPATH=src:tests/netns:tests/$folder "$1/bin/mypy" --explicit-package-bases "tests/$folder"
done
