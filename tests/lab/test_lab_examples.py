# SPDX-License-Identifier: Apache-2.0
"""The scripts of examples/ on new hosts; tests/lab/test_lab_stranger.py runs that of the downgrade."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import lab_package
import pytest
from checkout import TOP, output
from lab_instance import LabInstance
from lab_root import Release
from lab_unpackaged import plain, until_leased

pytestmark = [pytest.mark.lab, pytest.mark.exhaustive]

EXAMPLES = TOP / "examples"
UNITS = ("ec2net.service", "ec2net-early.service")
CURL = ("libcurl4_*.deb", "curl_*.deb")


@pytest.fixture
def new() -> Iterator[LabInstance]:
    """A host that never had the package, with its examples in /root."""
    with plain(Release.BOOKWORM) as instance:
        until_leased(instance)
        shutil.copytree(EXAMPLES, instance.host.root / "root/examples")
        yield instance


def script(instance: LabInstance, words: str, *, status: int = 0) -> str:
    """The output of a script of the examples."""
    command = ["sh", "-c", f"cd /root && examples/{words}"]
    done = instance.host.run(command, check=False, timeout=240)
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    return said


def states(instance: LabInstance) -> list[str]:
    command = ["systemctl", "is-enabled", *UNITS]
    return instance.host.run(command, check=False).stdout.split()


def folder(instance: LabInstance, name: str, sums: str) -> Path:
    """A folder on the host with the package and a file of checksums."""
    deb = lab_package.built()
    place = instance.host.root / "root" / name
    place.mkdir()
    shutil.copy(deb, place)
    (place / sums).write_text(f"{hashlib.sha256(deb.read_bytes()).hexdigest()}  {deb.name}\n")
    return place


def test_an_image_starts_ec2net_at_its_first_boot_alone(new: LabInstance) -> None:
    host = new.host
    preset = EXAMPLES / "golden-image/79-ec2net-image.preset"
    (command,) = [line[4:] for line in preset.read_text().splitlines() if line.startswith("#   ")]
    host.run(["sh", "-c", f"cd /root/examples/golden-image && {command}"])
    host.install(lab_package.built())
    assert states(new) == ["disabled", "disabled"]
    assert new.own_processes() == []
    script(new, "golden-image/seal.sh")
    assert states(new) == ["enabled", "enabled"]
    assert new.own_processes() == []
    host.reboot()
    new.complete()
    host.ec2net("verify")


def test_a_host_that_has_state_is_not_sealed(new: LabInstance) -> None:
    new.host.install(lab_package.built())
    new.complete()
    new.host.ec2net("pause", "--for", "1h")
    assert "do not make an image of it" in script(new, "golden-image/seal.sh", status=1)


def test_a_host_without_a_mirror_installs_from_a_bundle(new: LabInstance) -> None:
    bundle = folder(new, "bundle", "BUNDLE.sha256")
    (deb,) = bundle.glob("*.deb")
    whole = deb.read_bytes()
    deb.write_bytes(whole[:-1])
    assert "FAILED" in script(new, "air-gapped/install.sh bundle", status=1)
    assert new.host.run(["sh", "-c", "command -v ec2net"], check=False).stdout == ""
    deb.write_bytes(whole)
    assert "The ec2net daemon is running" in script(new, "air-gapped/install.sh bundle")
    new.complete()


def test_user_data_installs_from_an_own_mirror(new: LabInstance) -> None:
    """The mirror is a server on the host itself."""
    host, cached = new.host, Path(output(TOP / "tests/lab/predecessor.sh", "--cached").strip())
    for pattern in CURL:
        (deb,) = cached.glob(pattern)
        host.install(deb)
    folder(new, "mirror", "SHA256SUMS")
    server = "python3 -m http.server --directory /root/mirror 8000"
    host.run(["systemd-run", "--collect", *server.split()])
    reached = ["curl", "--silent", "http://127.0.0.1:8000"]
    host.wait_until(lambda: host.run(reached, check=False).returncode == 0, 60, "the mirror")
    path = host.root / "root/examples/user-data/user-data.sh"
    path.write_text(
        path.read_text().replace("https://mirror.example.com/ec2net", "http://127.0.0.1:8000")
    )
    assert "OK: all" in script(new, "user-data/user-data.sh")
    new.complete()
