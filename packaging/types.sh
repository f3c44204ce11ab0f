#!/usr/bin/env bash
# mypy --strict over the package, the tests and the generators of documents: types.sh VENV
# The tests are no package. The folders are those of pytest's pythonpath, and the bench's own.
set -euo pipefail
cd "$(dirname "$0")/.."
"$1/bin/mypy"
MYPYPATH=src:packaging:tests/support:tests/mutation:tests/bench:tests \
    "$1/bin/mypy" --explicit-package-bases packaging/*.py tests
