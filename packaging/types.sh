#!/usr/bin/env bash
# mypy --strict over the package, the tests and what makes documents: types.sh VENV
# The tests are no package, and each folder of them is a search path of its own, as for pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
"$1/bin/mypy"
for folder in unit netns lab bench packages; do
    MYPYPATH=src:packaging:tests:tests/netns:tests/mutation:tests/$folder "$1/bin/mypy" --explicit-package-bases "tests/$folder"
done
MYPYPATH=src:packaging "$1/bin/mypy" --explicit-package-bases packaging/*.py
MYPYPATH=src:packaging:tests:tests/mutation "$1/bin/mypy" --explicit-package-bases tests/*.py tests/mutation
