# SPDX-License-Identifier: Apache-2.0
"""The script for a real instance proves a lab host, and sees what is wrong; the opt-in tuning."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from checkout import TOP
from kernel_state import differences
from lab_boot import Boot
from lab_instance import MANY, LabInstance

pytestmark = [pytest.mark.lab, pytest.mark.backend("networkd"), pytest.mark.exhaustive]

SCRIPT = (TOP / "acceptance/prove.py").read_text()
RULES = (TOP / "systemd/tuning/91-ec2net-tuning.rules").read_text()
TUNED = {"base_reachable_time_ms": "5000", "delay_first_probe_time": "1", "retrans_time_ms": "500"}


PORT = 8607

AWS = """\
#!/bin/sh
# In the place of the AWS CLI: the test attaches and detaches the ENI.
echo "$*" > /root/aws-request
read -r answer < /root/aws-answer
echo "$answer"
"""


@contextmanager
def peer(instance: LabInstance) -> Iterator[str]:
    """The script in its second mode, outside of the subnets; yields its address and port."""
    outside = instance.vpc.outside
    script = TOP / "acceptance/prove.py"
    enter = ["nsenter", f"--net={outside.namespace.path}", "--"]
    with subprocess.Popen(
        [*enter, "python3", script, "--answer", str(PORT)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "answering" in process.stdout.readline()
        try:
            yield f"{outside.address(4)}:{PORT}"
        finally:
            process.terminate()


@contextmanager
def ec2(instance: LabInstance) -> Iterator[None]:
    """Serves the two calls of the script: an ENI is attached, and detached again."""
    folder = instance.host.root / "root"
    for name in ("aws-request", "aws-answer"):
        os.mkfifo(folder / name)
    instance.host.write("/usr/bin/aws", AWS)
    (instance.host.root / "usr/bin/aws").chmod(0o755)

    def serve() -> None:
        assert " attach-network-interface" in (folder / "aws-request").read_text()
        eni = instance.attach("ens20", **MANY)
        (folder / "aws-answer").write_text("eni-attach-1\n")
        assert " detach-network-interface" in (folder / "aws-request").read_text()
        instance.vpc.detach(eni)
        (folder / "aws-answer").write_text("true\n")

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    yield
    server.join(10)
    assert not server.is_alive()


def prove(instance: LabInstance, *options: str, status: int) -> dict[str, bool]:
    """Whether each check passed."""
    host = instance.host
    command = ["python3", "/root/prove.py", "--report", "/root/report.json", *options]
    done = host.run(command, check=False, timeout=300)
    print(done.stdout)
    assert done.returncode == status, f"{done.stdout}{done.stderr}"
    text = host.read("/root/report.json")
    assert not re.search(r"\beni-0[0-9a-f]{16}\b", text)
    for eni in instance.vpc.enis:
        assert str(eni.mac) not in text
    document = json.loads(text)
    assert document["passed"] is (status == 0)
    assert document["record"]["imds"]
    return {one["check"]: one["passed"] for one in document["checks"]}


def two(instance: LabInstance) -> None:
    instance.vpc.attach(instance.one, device=0, **MANY)
    instance.vpc.attach(instance.two, **MANY)


def sysctls(instance: LabInstance, link: str) -> dict[str, str]:
    folder = f"/proc/sys/net/ipv4/neigh/{link}"
    return {name: instance.host.read(f"{folder}/{name}").strip() for name in TUNED}


def test_the_script_proves_a_host_and_sees_what_is_wrong(boot: Boot) -> None:
    with boot(before=two, files={"/root/prove.py": SCRIPT}) as instance:
        instance.until_at_rest()
        instance.refresh()
        before = instance.kernel()
        attach = ("--attach", "eni-00000000000000003", "--instance", "i-1")
        with peer(instance) as address, ec2(instance):
            checks = prove(instance, "--peer", address, *attach, status=0)
        for eni in instance.vpc.enis:
            for name in (f"{address} ({eni.name})" for address in eni.addresses()):
                assert checks[name]
                assert checks[f"{name}, in"]
        assert checks["detach"]
        assert len([name for name in checks if "(ens20) with the new ENI, in" in name]) == 5
        assert differences(before, instance.kernel()) == []

        host, link = instance.host, instance.secondary.name
        untuned = sysctls(instance, "lo")
        host.write("/etc/udev/rules.d/91-ec2net-tuning.rules", RULES)
        host.run(["udevadm", "control", "--reload"])
        host.run(["udevadm", "trigger", "--action=add", "--settle", f"/sys/class/net/{link}"])
        assert sysctls(instance, link) == TUNED
        assert sysctls(instance, "lo") == untuned

        host.run(["systemctl", "stop", "ec2net.service"])
        host.run(["sh", "-c", "while ip rule del priority 10001; do :; done"])
        with peer(instance) as address:
            checks = prove(instance, "--peer", address, status=1)
        reached = {name for name, passed in checks.items() if name.endswith(", in") and passed}
        lost = {f"{address} ({link}), in" for address in instance.secondary.ipv4s}
        assert len(reached) == 10 - len(lost)  # the rules of IPv6 stay
        assert not reached & lost
        assert not checks["routing"]
        assert not checks["doctor"]
        assert not checks["plan is empty"]
