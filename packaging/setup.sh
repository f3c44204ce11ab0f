#!/usr/bin/env bash
# Install the packages that the targets of the Makefile need, if they are missing.
#
#   setup.sh VENV newest|oldest   the Debian packages of the tests, and a virtual environment
#   setup.sh --lab                the Debian packages of the host lab
#   setup.sh --packages           the Debian packages that "make packages" needs
#   setup.sh --checkers FOLDER    a folder with the checkers of examples/ and acceptance/
#
# Debian packages need root. Without root the script names the missing packages and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

need_packages() {   # package:command ..., or package:file with its whole path
    local missing=() entry
    for entry in "$@"; do
        [[ ${entry#*:} == /* && -e ${entry#*:} ]] || PATH=$PATH:/usr/sbin:/sbin command -v "${entry#*:}" >/dev/null ||
            missing+=("${entry%%:*}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ]; then
        echo "setup: missing Debian packages: ${missing[*]} (install them, or run as root)" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
        apt-get update -qq >/dev/null
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    }
}

if [ "${1:-}" = --lab ]; then
    exec tests/lab/setup.sh
fi

if [ "${1:-}" = --packages ]; then
    need_packages dpkg-dev:dpkg-buildpackage debhelper:dh dh-python:dh_python3 rpm:rpmbuild \
        pybuild-plugin-pyproject:/usr/share/doc/pybuild-plugin-pyproject \
        python3-all:/usr/share/doc/python3-all \
        python3-setuptools:/usr/lib/python3/dist-packages/setuptools \
        python3-wheel:/usr/lib/python3/dist-packages/wheel
    # What their tests look at them with.
    need_packages rpmlint:rpmlint createrepo-c:createrepo_c dnf:dnf lintian:lintian devscripts:uscan autopkgtest:autopkgtest
    exit
fi

if [ "${1:-}" = --checkers ]; then
    want=$(cat packaging/setup.sh; pwd)
    if [ ! -e "$2/.stamp" ] || [ "$(cat "$2/.stamp")" != "$want" ]; then
        echo "setup: $2 with the checkers of the examples"
        rm -rf "$2"
        "${PYTHON:-python3}" -m venv "$2"
        "$2/bin/pip" install -q --disable-pip-version-check ansible-lint cfn-lint python-hcl2
        # Unpacked only: an installed prometheus would start a service.
        mkdir "$2/debs"
        cd "$2/debs"
        apt-get download -qq packer prometheus 2>/dev/null ||
            { apt-get update -qq >/dev/null && apt-get download -qq packer prometheus; }
        for deb in *.deb; do dpkg-deb --extract "$deb" unpacked; done
        mv unpacked/usr/bin/packer unpacked/usr/bin/promtool ../bin/
        cd - >/dev/null
        rm -r "$2/debs"
        printf '%s\n' "$want" > "$2/.stamp"
    fi
    exit
fi

venv=$1 set=$2
need_packages python3:python3 iproute2:ip nftables:nft strace:strace faketime:faketime dbus-daemon:dbus-daemon groff-base:groff graphviz:dot mandoc:mandoc zsh:zsh fish:fish shellcheck:shellcheck
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "setup: $python is not Python 3.11 or newer (name another: make PYTHON=...)" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    need_packages python3-venv:python3-venv-is-missing
fi

case $set in
    newest) wanted=(-e '.[dev,release]') ;;
    oldest) wanted=(-c packaging/oldest.txt -e '.[dev]') ;;
    *) echo "setup: newest or oldest, not '$set'" >&2; exit 2 ;;
esac
stamp=$venv/.stamp
want=$(cat pyproject.toml packaging/setup.sh packaging/oldest.txt; "$python" -VV; pwd)
if [ ! -e "$stamp" ] || [ "$(cat "$stamp")" != "$want" ]; then
    echo "setup: $venv with the $set libraries"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check --no-warn-script-location "${wanted[@]}"
    printf '%s\n' "$want" > "$stamp"
fi
