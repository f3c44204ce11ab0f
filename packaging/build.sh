#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build packages into a folder, all of them from one release tarball, the sdist:
#   build.sh PYTHON FOLDER sdist|wheel|deb|rpm|release...
# "deb" makes the Debian source, too; "rpm" the tarball with the bundled libraries and the SRPM;
# "release" everything, with checksums, a bill of materials and notes.
# PYTHON needs setuptools, wheel and pip. The tarball contains the checkout, with uncommitted files that
# git does not ignore, or an unpacked tarball. SOURCE_DATE_EPOCH replaces the date.
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

wants() { [[ $kinds == *" $1 "* || $kinds == *" release "* ]]; }

# Pack a folder below $work: the same files give the same bytes.
pack() {   # folder tarball
    find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX "$1" |
        gzip --no-name -9 >"$2"
}

# The release has the date of the last commit; the files of an unpacked tarball have this date.
: "${SOURCE_DATE_EPOCH:=$(if [ -e .git ]; then git log -1 --format=%ct; else stat -c %Y PKG-INFO; fi)}"
export SOURCE_DATE_EPOCH

# The sdist, made in a copy: otherwise it would contain files of an earlier build.
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
pack "$name" "$tarball"
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
    cp "$tarball" "deb/ec2net_$version.orig.tar.gz"
    (cd "deb/$name" && dpkg-buildpackage -F -d -us -uc) >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
    cp deb/*.{deb,dsc,orig.tar.gz,debian.tar.xz} "$out/"
fi

if wants rpm; then
    vendor=$top/vendor    # as in an unpacked tarball that has it
    if [ ! -d "$vendor" ]; then
        vendor=$top/.cache/vendor-$(cat "$top"/packaging/rpm/{vendor.sh,vendor.txt,certifi.py} | sha256sum | cut -c1-16)
    fi
    if [ ! -d "$vendor" ]; then
        "$top/packaging/rpm/vendor.sh" "$python" "$work/vendor"
        mkdir -p "$top/.cache"
        mv -T "$work/vendor" "$vendor"
    fi
    mkdir -p rpm/SOURCES
    cp -r "$vendor" "$name/vendor"
    pack "$name" "rpm/SOURCES/$name-bundled.tar.gz"
    cp -p "$name/packaging/rpm/ec2net.spec" rpm/SOURCES/
    touch --date="@$SOURCE_DATE_EPOCH" rpm/SOURCES/*
    rpms() {
        # --nodeps: what rpm knows to be installed is not what a host of another kind has.
        (cd rpm/SOURCES && rpmbuild --nodeps "$@") >"$work/log" 2>&1 || {
            cat "$work/log" >&2
            exit 1
        }
    }
    # Relative: an SRPM contains its spec with the folders of its build filled in.
    rpms --define '_topdir ..' --define '_sourcedir .' --define '_srcrpmdir ..' -bs ec2net.spec
    for system in 'amzn 2023' 'rhel 9'; do
        dist=${system/rhel /el}
        rpms --define "_topdir $work/rpm" --define "$system" --define "dist .${dist/ /}" \
            -tb "$name-bundled.tar.gz"
    done
    cp "rpm/SOURCES/$name-bundled.tar.gz" rpm/*.src.rpm rpm/RPMS/noarch/*.rpm "$out/"
fi

if [[ $kinds == *" release "* ]]; then
    "$python" "$name/packaging/release.py" notes "$name" >"$out/$name-notes.md"
    "$python" "$name/packaging/release.py" sbom "$name" >"$out/$name.cdx.json"
    (cd "$out" && find . -type f -name 'ec2net*' -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS)
fi
