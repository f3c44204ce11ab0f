# SPDX-License-Identifier: Apache-2.0
"""The script for a real instance proves a lab host, and sees what is wrong; the opt-in tuning."""

import json
import re

import pytest
from checkout import TOP
from lab_boot import Boot
from lab_instance import MANY, LabInstance

pytestmark = [pytest.mark.lab, pytest.mark.backend("networkd"), pytest.mark.exhaustive]

SCRIPT = (TOP / "acceptance/prove.py").read_text()
RULES = (TOP / "systemd/tuning/91-ec2net-tuning.rules").read_text()
TUNED = {"base_reachable_time_ms": "5000", "delay_first_probe_time": "1", "retrans_time_ms": "500"}


def prove(instance: LabInstance, *, status: int) -> dict[str, bool]:
    """Whether each check passed."""
    host = instance.host
    command = ["python3", "/root/prove.py", "--report", "/root/report.json"]
    done = host.run(command, check=False)
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
        checks = prove(instance, status=0)
        for eni in instance.vpc.enis:
            for address in (*eni.ipv4s, *eni.ipv6s):
                assert checks[f"{address} ({eni.name})"], address

        host, link = instance.host, instance.secondary.name
        before = sysctls(instance, "lo")
        host.write("/etc/udev/rules.d/91-ec2net-tuning.rules", RULES)
        host.run(["udevadm", "control", "--reload"])
        host.run(["udevadm", "trigger", "--action=add", "--settle", f"/sys/class/net/{link}"])
        assert sysctls(instance, link) == TUNED
        assert sysctls(instance, "lo") == before

        host.run(["systemctl", "stop", "ec2net.service"])
        host.run(["ip", "rule", "del", "priority", "10001"])
        checks = prove(instance, status=1)
        assert not checks["routing"]
        assert not checks["doctor"]
        assert not checks["plan is empty"]
