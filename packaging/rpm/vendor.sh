#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Put the libraries that the rpm bundles into a new folder: vendor.sh PYTHON FOLDER
# PYTHON needs pip.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
# Wheels of pure Python alone: the package is for every architecture.
"$1" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
    --only-binary=:all: --platform=any --implementation=py --abi=none \
    --python-version=3.11 --target="$2" --requirement="$here/vendor.txt"
cd "$2"
# Commands, tests, and what pip remembers of its own installation.
rm -rf bin
find . -depth -type d -name tests -exec rm -r {} +
# A module that is not executable needs no interpreter.
find . -name '*.py' -exec sed -i '1{/^#!/d}' {} +
rm -f ./*.dist-info/{INSTALLER,RECORD,REQUESTED}
install -m 644 "$here/certifi.py" .
