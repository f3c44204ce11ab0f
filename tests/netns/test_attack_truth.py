# SPDX-License-Identifier: Apache-2.0
"""Output, stored state and exit status are true, with any content of state files, streams and
IMDS."""

import json
import signal
import subprocess
import sys
from ipaddress import IPv6Address
from typing import Any

import pytest
from instance import MANY, PROGRAM_LIMIT, Instance, environment, primary, subnets

from ec2net.core.simulation.vpc.eni import Eni
from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns


def _host(vpc: SimulatedVpc) -> tuple[Eni, Eni]:
    first, second = subnets(vpc, 2)
    return primary(vpc, first), vpc.attach(second, device=1, **MANY)


def _shell(instance: Instance, command: str) -> subprocess.CompletedProcess[str]:
    return instance.guest.run(["sh", "-c", command], timeout=PROGRAM_LIMIT, env=environment())


@pytest.mark.parametrize(
    "status",
    [
        {"enis": 5, "problems": 3},
        {"enis": [5], "problems": [{}]},
        {"enis": [{"mac": [], "intent": {}}], "problems": []},
        {"enis": [{"mac": "06:ec:02:00:00:01", "intent": {"base": 1}}]},
        [],
    ],
)
def test_a_status_file_of_any_form_does_not_stop_a_pass(
    vpc: SimulatedVpc, instance: Instance, status: object
) -> None:
    """Each pass failed, with a traceback after the changes."""
    _host(vpc)
    instance.run_dir.mkdir()
    for arguments in (["refresh", "--unless-quiet"], ["refresh"]):
        (instance.run_dir / "status.json").write_text(json.dumps(status))
        instance.ec2net(*arguments)
        instance.ec2net("status")


def test_status_reports_a_pass_that_failed_as_a_whole(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    """status still reported success, since the last complete pass had left that file."""
    _host(vpc)
    instance.refresh()
    instance.configure('[plugins]\nenabled = ["nope"]\n')
    instance.ec2net("refresh", status=1)
    done = instance.ec2net("status", status=1)
    assert "plugin nope" in done.stdout
    assert "eni-" in done.stdout

    instance.configure()
    instance.refresh()
    instance.ec2net("status")


LATE = """\
import sys
from ec2net.core.engine import verify
from ec2net.core.model.errors import DeadlineExceeded
def check(*_, **__):
    raise DeadlineExceeded("refresh did not end within 15 s")
verify.check = check
from ec2net.core.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The program, with the deadline expired when verification starts."""


def test_a_pass_that_runs_out_of_time_reports_its_changes(
    vpc: SimulatedVpc, instance: Instance
) -> None:
    """The changes were neither logged nor stored, and the facts of IMDS were not remembered."""
    _, eni = _host(vpc)
    _, _, _, *arguments = instance.argv("refresh")
    done = instance.guest.run(
        [sys.executable, "-c", LATE, *arguments], timeout=PROGRAM_LIMIT, env=environment()
    )
    assert done.returncode == 1
    assert f"{eni.name}: + rule 10001" in done.stderr
    assert "did not end within 15 s" in done.stderr
    assert instance.status()[str(eni.mac)]["standing"] == "configured"
    assert instance.refresh() == []


def test_verify_reports_a_refused_eni(vpc: SimulatedVpc, instance: Instance) -> None:
    """verify reported success for the others and ended with 0."""
    _, eni = _host(vpc)
    instance.refresh()
    _change(vpc, eni, {"local-ipv4s": "192.0.2.1"})
    done = instance.ec2net("verify", status=1)
    assert "refused" in done.stdout
    assert "as intended" not in done.stdout
    document = json.loads(instance.ec2net("verify", "--json", status=1).stdout)
    assert any("refused" in problem for problem in document["problems"])


def test_a_new_ipv6_block_of_a_subnet_is_configured(vpc: SimulatedVpc, instance: Instance) -> None:
    """A block can be disassociated and another one associated while instances run.

    The first one was remembered for the boot, and the ENI was refused for as long.
    """
    _, eni = _host(vpc)
    instance.refresh()
    new = IPv6Address("2001:db8:0:99::5")
    _change(vpc, eni, {"subnet-ipv6-cidr-blocks": f"{new}"[:-1] + "/64", "ipv6s": str(new)})
    done = instance.refresh()
    assert f"add address {new}/128 dev {eni.name}" in done
    assert instance.way("2001:db8:ffff::1", new) == eni.name
    instance.ec2net("verify")


def _change(vpc: SimulatedVpc, eni: Eni, keys: dict[str, str]) -> None:
    tree: Any = vpc.imds.tree()
    before = tree["network"]["interfaces"]["macs"][str(eni.mac)]
    left = {k: v for k, v in before.items() if k != "ipv6-prefix"}
    vpc.imds.put_interface(str(eni.mac), {**left, **keys})


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_stop_no_command(vpc: SimulatedVpc, instance: Instance, closed: str) -> None:
    """``2>&-`` made each command end with 1 before its start."""
    _, eni = _host(vpc)
    for command in ("refresh", "refresh --json", "plan", "verify", "status"):
        done = _shell(instance, f"{' '.join(instance.argv(*command.split()))} {closed}")
        assert (done.returncode, done.stderr if "refresh" not in command else "") == (0, "")
    assert instance.unreachable(eni) == []


def test_output_to_a_full_device_is_one_line(vpc: SimulatedVpc, instance: Instance) -> None:
    _host(vpc)
    instance.refresh()
    for command in ("plan", "status", "verify --json"):
        done = _shell(instance, f"{' '.join(instance.argv(*command.split()))} > /dev/full")
        assert done.returncode == 1
        assert done.stderr == "ec2net: cannot write the output: No space left on device\n"


def test_a_hardened_umask_does_not_hide_the_status(vpc: SimulatedVpc, instance: Instance) -> None:
    """With umask 077 only root could read the status; other users read that no pass had ended."""
    _host(vpc)
    done = _shell(instance, f"umask 077; {' '.join(instance.argv('refresh'))}")
    assert done.returncode == 0, done.stderr
    modes = {path.stat().st_mode & 0o777 for path in instance.run_dir.rglob("*") if path.is_dir()}
    assert modes | {instance.run_dir.stat().st_mode & 0o777} == {0o755}


def test_a_link_can_be_named_by_an_alternative_name(vpc: SimulatedVpc, instance: Instance) -> None:
    """``remove`` reported a missing link, ``start`` that its driver was not veth."""
    _, eni = _host(vpc)
    instance.refresh()
    instance.guest.ip([f"link property add dev {eni.name} altname other"])
    instance.ec2net("remove", "other")
    assert "lookup 10001" not in instance.guest.run(["ip", "rule"]).stdout
    instance.ec2net("start", "other")
    assert instance.unreachable(eni) == []


def test_ctrl_c_prints_no_traceback(vpc: SimulatedVpc, instance: Instance) -> None:
    _host(vpc)
    vpc.silence_imds(4)
    vpc.silence_imds(6)
    with instance.running("plan", "-v") as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PROGRAM_LIMIT)
    assert "Traceback" not in line + errors
    assert process.returncode == -signal.SIGINT
