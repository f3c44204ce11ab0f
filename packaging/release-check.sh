#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks whether this commit can be released, and names every obstacle.
set -euo pipefail
cd "$(dirname "$0")/.."
wrong=0

complain() {
    echo "release-check: $*" >&2
    wrong=1
}

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/ec2net/__init__.py)
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || complain "the version '$version' is not like 1.2.3"

heading=$(grep -m 1 '^## ' CHANGELOG.md || true)
[[ $heading =~ ^"## $version - "[0-9]{4}-[0-9]{2}-[0-9]{2}$ ]] ||
    complain "CHANGELOG.md begins with '$heading', not with '## $version - ' and the date of today"

[ -z "$(git status --porcelain)" ] || complain "there are changes that are not committed"

placeholders=$(git grep -nE '(@|://)[^" ]*\.invalid' -- pyproject.toml SECURITY.md packaging || true)
[ -z "$placeholders" ] || complain "placeholders in the place of addresses; write your own into pyproject.toml:
$placeholders"

newest=$(git tag --list 'v*' --sort=-version:refname | head -n 1)
if git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null; then
    [ "$(git rev-parse "v$version^{commit}")" = "$(git rev-parse HEAD)" ] ||
        complain "the tag v$version is another commit: this one needs a version of its own"
    [ "$newest" = "v$version" ] || complain "the tag $newest is newer than v$version"
elif [ -n "$newest" ]; then
    [ "$(printf '%s\n' "$newest" "v$version" | sort --version-sort | tail -n 1)" = "v$version" ] ||
        complain "the version $version is not newer than the tag $newest"
fi

[ $wrong -eq 0 ] || exit 1
echo "release-check: $version is in order; next: git tag v$version, make test, make packages"
