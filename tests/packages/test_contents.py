# SPDX-License-Identifier: Apache-2.0
"""Contents of each package: all files that the program needs, in their folders, and no others."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from checkout import TOP, output

import ec2net

VERSION = ec2net.__version__
DEB = f"ec2net_{VERSION}-1_all.deb"
RPMS = {system: f"ec2net-{VERSION}-1.{system}.noarch.rpm" for system in ("amzn2023", "el9")}

PLACED = """\
/etc/iproute2/rt_protos.d/ec2net.conf
/usr/bin/ec2net
/usr/lib/NetworkManager/dispatcher.d/80-ec2net
/usr/lib/NetworkManager/dispatcher.d/pre-up.d/80-ec2net
/usr/lib/ec2net/ec2net.toml
/usr/lib/ec2net/setup-policy-routes
/usr/lib/systemd/network/80-ec2net-later.network
/usr/lib/systemd/network/80-ec2net.network
/usr/lib/systemd/networkd.conf.d/80-ec2net.conf
/usr/lib/systemd/system-preset/80-ec2net.preset
/usr/lib/systemd/system/ec2net-early.service
/usr/lib/systemd/system/ec2net-hostname.service
/usr/lib/systemd/system/ec2net-on-demand.target
/usr/lib/systemd/system/ec2net-primary.service
/usr/lib/systemd/system/ec2net-refresh.service
/usr/lib/systemd/system/ec2net-refresh.timer
/usr/lib/systemd/system/ec2net-udev@.service
/usr/lib/systemd/system/ec2net.service
/usr/lib/systemd/system/ec2net@.service
/usr/lib/udev/rules.d/90-ec2net.rules
/usr/share/bash-completion/completions/ec2net
/usr/share/fish/vendor_completions.d/ec2net.fish
/usr/share/man/man5/ec2net.toml.5
/usr/share/man/man7/ec2net-backends.7
/usr/share/man/man8/ec2net.8
/usr/share/zsh/vendor-completions/_ec2net
""".splitlines()
"""Files of the deb and of the rpm, except Python modules and documents."""

EXECUTABLE = {
    "/usr/bin/ec2net",
    "/usr/lib/NetworkManager/dispatcher.d/80-ec2net",
    "/usr/lib/ec2net/setup-policy-routes",
}

DISTRIBUTED = ("src", "systemd", "tests", "docs", "packaging", "examples", "acceptance")
"""Folders that the release tarball contains completely. The tarball has no symbolic links:
src/ec2net/core is the folder."""


def below(folder: str) -> set[str]:
    """Files of the checkout, links followed, as the tarball names them."""
    command = ["find", "-L", folder, "-type", "f"]
    listed = subprocess.run(
        command, cwd=TOP, capture_output=True, text=True, timeout=60, check=True
    )
    made = re.compile(r"/__pycache__/|\.egg-info/|/build/")
    return {path for path in listed.stdout.splitlines() if not made.search(path)}


def modules() -> set[str]:
    """The import package, from its folder."""
    return {path.removeprefix("src/") for path in below("src")}


def split(paths: Iterable[str], python: str) -> tuple[set[str], list[str]]:
    """Files in a folder for Python, without bytecode; all others, without documents."""
    documents = ("/usr/share/doc/", "/usr/share/licenses/")
    all_paths = set(paths)
    inside = {path.removeprefix(python) for path in all_paths if path.startswith(python)}
    rest = [p for p in all_paths if not p.startswith((python, *documents))]
    # Tools of packages compress manual pages.
    rest = [p.removesuffix(".gz") if p.startswith("/usr/share/man/") else p for p in rest]
    return {path for path in inside if "__pycache__" not in path}, sorted(rest)


def documents(paths: Iterable[str]) -> set[str]:
    """Names of the files in a folder for documents; packaging tools compress large ones."""
    return {Path(p).name.removesuffix(".gz") for p in paths if p.startswith("/usr/share/doc/")}


WRITTEN = {path.name for path in (TOP / "docs").iterdir()}
"""References from one document to another."""


def test_the_tarball_has_every_source_and_the_tests(dist: Path) -> None:
    with tarfile.open(dist / f"ec2net-{VERSION}.tar.gz") as archive:
        members = archive.getmembers()
    assert [member.name for member in members if not (member.isfile() or member.isdir())] == []
    names = {m.name.partition("/")[2] for m in members if m.isfile()}
    names = {name for name in names if not name.startswith("src/ec2net.egg-info/")}
    expected = set[str]().union(*map(below, DISTRIBUTED))
    assert {name for name in names if "/" in name} == expected
    assert names - expected == {
        *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile", "PKG-INFO"),
        *("README.md", "SECURITY.md", "pyproject.toml", "setup.cfg"),
    }


def test_the_wheel_has_only_the_import_package(dist: Path) -> None:
    with zipfile.ZipFile(dist / f"ec2net-{VERSION}-py3-none-any.whl") as archive:
        names = set(archive.namelist())
    about = f"ec2net-{VERSION}.dist-info/"
    assert {name for name in names if not name.startswith(about)} == modules()


def test_the_deb_puts_each_file_in_its_folder(dist: Path) -> None:
    listed = output("dpkg-deb", "--contents", dist / DEB).splitlines()
    lines = [line.split(maxsplit=5) for line in listed if not line.startswith("d")]
    paths = {words[5].partition(" -> ")[0].removeprefix(".") for words in lines}
    python, rest = split(paths, "/usr/lib/python3/dist-packages/")
    assert {name for name in python if ".dist-info/" not in name} == modules()
    assert rest == sorted([*PLACED, "/usr/share/lintian/overrides/ec2net"])
    executable = {words[5].removeprefix(".") for words in lines if words[0] == "-rwxr-xr-x"}
    assert executable == EXECUTABLE
    assert {words[1] for words in lines} == {"root/root"}
    assert documents(paths) > WRITTEN


RELATIONS = ("Conflicts", "Replaces", "Obsoletes", "Provides", "Breaks")
PREDECESSORS = ("amazon-ec2-net-utils", "cloud-setup", "cloud-netconfig")


def test_no_package_removes_another_tool(dist: Path) -> None:
    """docs/packaging.md has the reason: the other package's scripts would leave the host half
    migrated."""
    control = output("dpkg-deb", "--field", dist / DEB)
    told = [line for line in control.splitlines() if line.startswith(RELATIONS)]
    for rpm in RPMS.values():
        for relation in ("conflicts", "obsoletes", "provides"):
            query = ("rpm", "--query", "--package", f"--{relation}", dist / rpm)
            told += output(*query).splitlines()
    assert not [line for line in told if any(name in line for name in PREDECESSORS)]
    assert not any(line.startswith(RELATIONS) for line in told)


@pytest.mark.parametrize("system", RPMS)
def test_the_rpm_puts_each_file_in_its_folder(dist: Path, system: str) -> None:
    query = ("rpm", "--query", "--package", "--queryformat")
    told = output(
        *query, r"[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}\n]", dist / RPMS[system]
    )
    lines = [line.split() for line in told.splitlines()]
    files = {path: mode for path, mode, _ in lines if mode[0] != "d"}
    python, rest = split(files, "/usr/lib/ec2net/python/")
    assert {name for name in python if name.startswith("ec2net/")} == modules()
    networkd = "/usr/lib/systemd/system-preset/70-ec2net-networkd.preset"
    placed = [path.replace("vendor-completions/_", "site-functions/_") for path in PLACED]
    assert rest == sorted([*placed, networkd] if system == "amzn2023" else placed)
    assert {path for path, mode in files.items() if mode == "-rwxr-xr-x"} & set(rest) == EXECUTABLE
    assert {owner for _, _, owner in lines} == {"root"}
    assert documents(files) > WRITTEN
    named = [path for path in files if path.startswith("/usr/share/doc/")]
    assert [path for path in named if not path.startswith("/usr/share/doc/ec2net/")] == []


def test_the_rpm_contains_the_libraries_that_the_project_names(dist: Path) -> None:
    """The rpm is for every architecture, so it contains no compiled file."""
    files = output("rpm", "--query", "--package", "--list", dist / RPMS["el9"]).splitlines()
    python, _ = split(files, "/usr/lib/ec2net/python/")
    brought = {name.partition("/")[0] for name in python if name.endswith("/__init__.py")}
    assert "certifi.py" in python
    assert [name for name in python if name.endswith(".pem") or "/tests/" in name] == []
    assert {"pluggy", "requests", "urllib3", "pyroute2", "dbus_next", "ec2net"} <= brought
    assert [path for path in files if re.search(r"\.so\b", path)] == []
    requires = output("rpm", "--query", "--package", "--requires", dist / RPMS["el9"]).split("\n")
    assert [r for r in requires if r and not r.startswith(("rpmlib(", "/bin/sh"))] == [
        "python3.11",
        "systemd",
    ]


def test_no_script_of_a_package_changes_a_network_manager(dist: Path, tmp_path: Path) -> None:
    """G-b: upstream's scripts hand the host to another network manager. ``sh`` parses each
    script."""
    output("dpkg-deb", "--control", dist / DEB, tmp_path / "deb")
    scripts = [tmp_path / "deb" / name for name in ("postinst", "prerm", "postrm")]
    assert not (tmp_path / "deb/preinst").exists()
    for tag in ("POSTIN", "PREUN", "POSTUN"):
        query = ("rpm", "--query", "--package", "--queryformat", f"%{{{tag}}}")
        scripts.append(tmp_path / tag)
        scripts[-1].write_text(output(*query, dist / RPMS["amzn2023"]))
    for script in scripts:
        output("sh", "-n", script)
        text = script.read_text()
        assert "systemctl" in text or "deb-systemd" in text
        assert re.findall(r"(?i)networkd|NetworkManager|networking|resolv", text) == []


def test_the_bundled_tarball_has_the_libraries_and_all_files_of_the_sdist(dist: Path) -> None:
    def names(archive: str) -> set[str]:
        with tarfile.open(dist / archive) as opened:
            return {member.name for member in opened.getmembers() if member.isfile()}

    libraries = names(f"ec2net-{VERSION}-bundled.tar.gz") - names(f"ec2net-{VERSION}.tar.gz")
    assert {name.split("/")[1] for name in libraries} == {"vendor"}


@pytest.mark.parametrize("archive", ["-bundled.tar.gz", ".tar.gz"])
def test_the_tarball_alone_builds_rpms(dist: Path, tmp_path: Path, archive: str) -> None:
    """The sdist for a distribution that has packages of the libraries."""
    shutil.copy(dist / f"ec2net-{VERSION}{archive}", tmp_path)
    bundled = ("--with", "bundled") if "bundled" in archive else ("--without", "bundled")
    system = ("--define", "rhel 9", "--define", f"_topdir {tmp_path}", "--nodeps", *bundled)
    output("rpmbuild", "-ta", "--quiet", *system, tmp_path / f"ec2net-{VERSION}{archive}")
    (rpm,) = tmp_path.glob("RPMS/noarch/*.rpm")
    (srpm,) = tmp_path.glob("SRPMS/*.rpm")
    assert output("rpm", "--query", "--package", "--list", srpm).split() == [
        f"ec2net-{VERSION}{archive}",
        "ec2net.spec",
    ]
    needs = output("rpm", "--query", "--package", "--requires", rpm)
    files = output("rpm", "--query", "--package", "--list", rpm)
    assert ("dist(pyroute2)" in needs) is (bundled[0] == "--without")
    assert ("/python/pyroute2/" in files) is (bundled[0] == "--with")
    licences = output("rpm", "--query", "--package", "--licensefiles", rpm)
    assert ("pyroute2" in licences) is (bundled[0] == "--with")


def test_the_checksums_cover_all_files(dist: Path) -> None:
    lines = [line.split() for line in (dist / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in lines} == {p.name for p in dist.iterdir()} - {
        "SHA256SUMS",
        "complete",
    }
    for checksum, name in lines:
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == checksum, name


def test_a_second_build_has_the_same_checksums(dist: Path, tmp_path: Path) -> None:
    """In another folder, in another time zone, with another umask and locale."""
    with tarfile.open(dist / f"ec2net-{VERSION}.tar.gz") as archive:
        date = int(archive.getmembers()[0].mtime)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(date), "TZ": "Asia/Tokyo", "LANG": "C"}
    subprocess.run(
        [TOP / "packaging/build.sh", sys.executable, tmp_path / "again", "release"],
        env=environment,
        umask=0o077,
        check=True,
        timeout=600,
    )
    assert (tmp_path / "again/SHA256SUMS").read_text() == (dist / "SHA256SUMS").read_text()


def test_an_unpacked_tarball_builds_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    with tarfile.open(dist / f"ec2net-{VERSION}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    build = tmp_path / f"ec2net-{VERSION}/packaging/build.sh"
    output(build, sys.executable, tmp_path / "again", "wheel")
    for built in sorted((tmp_path / "again").iterdir()):
        assert built.read_bytes() == (dist / built.name).read_bytes(), built.name
