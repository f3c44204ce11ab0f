#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build packages into a folder, all of them from one release tarball, the sdist:
#   build.sh PYTHON FOLDER sdist|wheel|deb|rpm...
# PYTHON needs setuptools, wheel and pip. The tarball is made of the checkout (what is not committed
# and not ignored included) or of an unpacked tarball.
set -euo pipefail
umask 022
python=$(realpath -s "$1")
mkdir -p "$2"
out=$(realpath "$2")
kinds=" ${*:3} "
cd "$(dirname "$0")/.."
top=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

wants() { [[ $kinds == *" $1 "* ]]; }

# The date of the release is that of the last commit, which an unpacked tarball's files have.
SOURCE_DATE_EPOCH=$(if [ -e .git ]; then git log -1 --format=%ct; else stat -c %Y PKG-INFO; fi)
export SOURCE_DATE_EPOCH

# The sdist. Made in a copy: what an earlier build left would be in it.
mkdir "$work/copy"
if [ -e .git ]; then
    git ls-files -z --cached --others --exclude-standard --deduplicate |
        { while IFS= read -r -d '' path; do
            if [ -e "$path" ]; then printf '%s\0' "$path"; fi    # not one that was deleted
        done; } | tar --create --null --files-from=- | tar --extract --directory="$work/copy"
else
    tar --create --exclude=./build --exclude=./dist --exclude='./.venv*' --exclude='*.egg-info' \
        --exclude=__pycache__ --exclude='./.*cache' --exclude=./PKG-INFO --exclude=./setup.cfg . | tar --extract --directory="$work/copy"
fi
"$python" packaging/release.py fill "$work/copy"
cd "$work/copy"
"$python" -c 'from setuptools import build_meta; build_meta.build_sdist("..")' >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    exit 1
}
cd "$work"
tarball=$(basename ec2net-*.tar.gz)
name=${tarball%.tar.gz}
version=${name#ec2net-}
tar --extract --file="$tarball"
# Packed anew: the same sources give the same bytes.
find "$name" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX "$name" |
    gzip --no-name -9 >"$tarball"
cp "$tarball" "$out/"

if wants wheel; then
    "$python" -m pip wheel --quiet --disable-pip-version-check --no-index --no-deps \
        --no-build-isolation --wheel-dir "$out" "$work/$tarball"
fi

if wants deb; then
    # The distribution's own Python, whatever else comes first.
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin
    mkdir deb
    tar --extract --file="$tarball" --directory=deb
    cp -r "deb/$name/packaging/debian" "deb/$name/debian"
    # -d: an "Architecture: all" package needs no compiler; packaging/setup.sh brings the rest.
    (cd "deb/$name" && dpkg-buildpackage -b -d -us -uc) >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
    cp deb/*.deb "$out/"
fi

if wants rpm; then
    pins=$top/packaging/rpm/vendor.txt
    vendor=$top/.cache/vendor-$(sha256sum "$pins" | cut -c1-16)
    if [ ! -d "$vendor" ]; then
        # Wheels of pure Python alone: the package is for every architecture.
        "$python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
            --only-binary=:all: --platform=any --implementation=py --abi=none \
            --python-version=3.11 --target="$work/vendor" --requirement="$pins"
        rm -rf "$work/vendor/bin"
        mkdir -p "$top/.cache"
        mv -T "$work/vendor" "$vendor"
    fi
    mkdir -p rpm/SOURCES rpm/SPECS
    cp "$tarball" rpm/SOURCES/
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        --directory="$vendor" --transform='s,^\.,vendor,' . |
        gzip --no-name >"rpm/SOURCES/$name-vendor.tar.gz"
    cp "$name/packaging/rpm/ec2net.spec" rpm/SPECS/
    for system in 'amzn 2023' 'rhel 9'; do
        dist=${system/rhel /el}
        # --nodeps: what rpm knows to be installed is not what a host of another kind has.
        rpmbuild -bb --nodeps --define "_topdir $work/rpm" --define "$system" \
            --define "dist .${dist/ /}" rpm/SPECS/ec2net.spec >"$work/log" 2>&1 || {
            cat "$work/log" >&2
            exit 1
        }
    done
    cp rpm/RPMS/noarch/*.rpm "$out/"
fi
