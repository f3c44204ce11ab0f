# SPDX-License-Identifier: Apache-2.0
"""The checkers of each packaging system find nothing in what "make release" has built."""

import email
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from checkout import TOP, output
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import ec2net

VERSION = ec2net.__version__
BIN = Path(sys.executable).parent


def test_lintian_reports_only_tags_that_are_overridden_with_a_reason(dist: Path) -> None:
    """The overrides are in packaging/debian, each below its reason."""
    debs = (dist / f"ec2net_{VERSION}-1.dsc", dist / f"ec2net_{VERSION}-1_all.deb")
    said = output("lintian", "--allow-root", "-EIL", "+pedantic", *debs)
    assert [line for line in said.splitlines() if not line.startswith("N: ")] == []


def test_rpmlint_reports_only_tags_that_are_filtered_with_a_reason(dist: Path) -> None:
    """The filters are in packaging/rpm/rpmlint.toml."""
    rpms = sorted(dist.glob("*.rpm"))
    assert len(rpms) == 3
    said = output("rpmlint", "--config", TOP / "packaging/rpm/rpmlint.toml", *rpms)
    assert "3 packages and 0 specfiles checked; 0 errors, 0 warnings" in said, said


def test_mandoc_reports_nothing_in_the_manual_pages_of_a_release(
    dist: Path, tmp_path: Path
) -> None:
    with tarfile.open(dist / f"ec2net-{VERSION}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    pages = sorted(tmp_path.glob("*/packaging/man/*.[578]"))
    assert len(pages) == 3
    done = subprocess.run(
        ["mandoc", "-Tlint", *pages], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_twine_accepts_the_archives_for_pypi(dist: Path) -> None:
    archives = (dist / f"ec2net-{VERSION}-py3-none-any.whl", dist / f"ec2net-{VERSION}.tar.gz")
    said = output(BIN / "twine", "--no-color", "check", "--strict", *archives)
    assert said.count("PASSED") == 2


def test_the_wheel_has_all_its_metadata_for_pypi(dist: Path) -> None:
    with zipfile.ZipFile(dist / f"ec2net-{VERSION}-py3-none-any.whl") as archive:
        text = archive.read(f"ec2net-{VERSION}.dist-info/METADATA").decode()
        names = archive.namelist()
    told = email.message_from_string(text)
    assert told["License"] == "Apache-2.0"
    assert told["Author-Email"]
    assert told["Summary"]
    assert told["Description-Content-Type"] == "text/markdown"
    links = {link.partition(",")[0] for link in told.get_all("Project-URL", [])}
    assert links == {"Changelog", "Homepage", "Issues", "Releases", "Repository"}
    assert "Operating System :: POSIX :: Linux" in told.get_all("Classifier", [])
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_bill_of_materials_is_valid_cyclonedx(dist: Path) -> None:
    text = (dist / f"ec2net-{VERSION}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None


def test_the_workflows_obey_the_schema_of_github() -> None:
    workflows = sorted((TOP / ".github/workflows").glob("*.yml"))
    output(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[str]:
    """The address of a page of releases as GitHub has it, with one that is newer."""
    page = tmp_path / "www/o/ec2net/releases"
    page.mkdir(parents=True)
    links = [f'<a href="/o/ec2net/releases/tag/v{n}">v{n}</a>' for n in (VERSION, "99.1.0")]
    (page / "index.html").write_text("\n".join(links))
    handler = partial(_Quiet, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/o/ec2net/releases"
        server.shutdown()


def test_uscan_finds_a_newer_release(dist: Path, tmp_path: Path, releases: str) -> None:
    """With debian/watch of the Debian source, whose address is a local one here."""
    with tarfile.open(dist / f"ec2net_{VERSION}-1.debian.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    watch = tmp_path / "debian/watch"
    lines = watch.read_text().splitlines()
    words = lines[-1].split()
    assert words[0].endswith("/ec2net/releases")
    watch.write_text("\n".join([*lines[:-1], f"  {releases} {words[1]}\n"]))
    command = ["uscan", "--dehs", "--no-download"]
    said = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    ).stdout
    assert "<upstream-version>99.1.0</upstream-version>" in said, said
    assert f"<upstream-url>{releases}/download/v99.1.0/ec2net-99.1.0.tar.gz</upstream-url>" in said
