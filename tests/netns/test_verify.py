# SPDX-License-Identifier: Apache-2.0
"""verify, doctor and explain each name the cause that redirects an ENI's traffic."""

import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from instance import MANY, Instance, primary, subnets
from manager import managed

from ec2net.core.simulation.vpc.simulated import SimulatedVpc

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def settled(install: Callable[[SimulatedVpc], Instance]) -> Iterator[Instance]:
    """Three ENIs and a bridge of containers, configured."""
    with SimulatedVpc(prefix="verify-", seed=None) as vpc:
        instance = install(vpc)
        first, second, third = subnets(vpc, 3)
        primary(vpc, first, ipv4=2, ipv6=1)
        vpc.attach(second, **MANY)
        vpc.attach(third, ipv4=1)
        vpc.guest.ip(
            [
                "link add docker0 type bridge",
                "link set docker0 up",
                "addr add 172.17.0.1/16 dev docker0",
                "link add held type veth peer name container",
                "link set held master docker0 up",
                "link set container up",
            ]
        )
        instance.ec2net("refresh")
        yield instance


def verified(instance: Instance, status: int = 4) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        instance.ec2net("verify", "--json", status=status).stdout
    )["findings"]
    return found


def routing(instance: Instance) -> dict[str, Any]:
    """The only finding of doctor about ens6's routing."""
    document = json.loads(instance.ec2net("doctor", "--json", status=1).stdout)
    (found,) = (
        one for one in document["findings"] if (one["check"], one["subject"]) == ("routing", "ens6")
    )
    assert isinstance(found, dict)
    return found


@contextmanager
def ip(instance: Instance, *do: str) -> Iterator[None]:
    """Add these, and remove them again."""
    instance.guest.ip(do)
    try:
        yield
    finally:
        instance.guest.ip([line.replace(" add ", " del ", 1) for line in reversed(do)])


def test_verify_finds_nothing_on_a_configured_host(settled: Instance) -> None:
    assert verified(settled, status=0) == []


NOT_MADE = "(a rule that ec2net did not make)"

TAKEN = {
    "main": (
        ("rule add pref 100 from 10.0.2.5 lookup main",),
        "through ens5 by rule 100: from 10.0.2.5 lookup main (a rule that ec2net did not make)",
        "if nothing needs the rule, run: ip rule del priority 100 from 10.0.2.5 lookup main",
    ),
    "blackhole": (
        ("rule add pref 500 from 10.0.2.5 blackhole",),
        f"by rule 500: from 10.0.2.5 blackhole {NOT_MADE}",
        "if nothing needs the rule, run: ip rule del priority 500 from 10.0.2.5 blackhole",
    ),
    "a VPN's table": (
        (
            "route add default dev docker0 table 51820",
            "rule add pref 200 not from all fwmark 0xca6c lookup 51820",
        ),
        "through docker0 by rule 200: not from all fwmark 0xca6c/0xffffffff lookup 51820",
        "the rule looks like one of wg-quick: change it there",
    ),
    "keepalived's": (
        ("rule add pref 300 from 10.0.2.5 lookup main proto 18",),
        "(a rule of keepalived)",
        "the rule looks like one of keepalived: change it there",
    ),
    "only the DNS server": (
        ("rule add pref 100 from 10.0.2.5 to 169.254.169.253 lookup main",),
        "to 169.254.169.253 should leave through ens6, but",
        "if nothing needs the rule, run: ip rule del priority 100 from 10.0.2.5 to 169.254.169.253",
    ),
    "only another ENI's subnet": (
        ("rule add pref 100 from 10.0.2.5 to 10.0.3.0/24 lookup main",),
        "to 10.0.3.0/24 should leave through ens6, but",
        "if nothing needs the rule, run: ip rule del priority 100 from 10.0.2.5 to 10.0.3.0/24",
    ),
    "only packets bound to the link": (
        ("rule add pref 100 from 10.0.2.5 oif ens6 blackhole",),
        "198.51.100.1 (bound) should leave through ens6, but no route leads there by rule",
        "the rule looks like one of a tool that selects packets by more than addresses",
    ),
    "a container's network": (
        ("rule add pref 100 from 10.0.2.5 to 172.17.0.0/16 lookup 10001",),
        "to 172.17.0.0/16 should leave through docker0, but it would leave through ens6",
        "if nothing needs the rule, run: ip rule del priority 100 from 10.0.2.5 to 172.17.0.0/16",
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_the_rule_that_redirects_a_source_is_named_and_refresh_is_not_suggested(
    settled: Instance, name: str
) -> None:
    do, said, remedy = TAKEN[name]
    with ip(settled, *do):
        assert settled.plan()["changes"] == []
        found = verified(settled)
        of_source = [one for one in found if "10.0.2.5" in one["text"] or name == "a VPN's table"]
        assert any(said in one["text"] for one in of_source), found
        assert all(one["remedy"].startswith(remedy) for one in of_source), found
        assert {one["code"] for one in of_source} == {"foreign-rule"}
        ill = routing(settled)
        assert ill["remedy"].startswith(remedy)
        assert ill["code"] == "foreign-rule"
        assert "refresh" not in ill["remedy"]
        story = settled.ec2net("explain", "10.0.2.5").stdout
        assert "which is wrong:" in story
        assert remedy in story
        shown = settled.ec2net("verify", status=4).stdout
        assert f"     {remedy}" in shown
    assert verified(settled, status=0) == []


def test_the_suggested_command_removes_the_redirecting_rule(settled: Instance) -> None:
    settled.guest.ip(["rule add pref 100 from 10.0.2.5 lookup main"])
    (found,) = verified(settled)
    done = settled.guest.run(found["remedy"].partition("run: ")[2].split())
    assert done.returncode == 0
    assert verified(settled, status=0) == []


def test_a_foreign_route_in_the_table_of_an_eni_is_reported(settled: Instance) -> None:
    with ip(settled, "route add 169.254.169.123/32 dev ens5 table 10001"):
        (found,) = verified(settled)
        assert "to 169.254.169.123 should leave through ens6, but" in found["text"]
        assert "route 169.254.169.123/32 dev ens5 table 10001" in found["text"]
        assert found["remedy"].endswith("run: ip route del 169.254.169.123/32 dev ens5 table 10001")


def test_a_route_of_main_that_takes_all_traffic_is_named_although_no_pass_reads_it(
    settled: Instance,
) -> None:
    """It said "rule 32766: from all lookup main", without a route."""
    with ip(settled, "route add 198.51.100.0/25 dev docker0"):
        texts = [one["text"] for one in verified(settled)]
        assert any(
            "by rule 9999: " in text and "route 198.51.100.0/25 dev docker0" in text
            for text in texts
        ), texts


@pytest.mark.parametrize(
    ("do", "code"),
    [
        (("route add blackhole 198.51.100.0/24 table 10001",), "discarded"),
        (("route add 203.0.113.0/24 dev ens5 table 10001",), "diverted"),
    ],
)
def test_a_finding_has_the_code_of_its_kind_also_in_the_journal(
    settled: Instance, do: tuple[str, ...], code: str
) -> None:
    with ip(settled, *do):
        assert {one["code"] for one in verified(settled)} == {code}
        settled.ec2net("refresh", status=1)
        eni = str(settled.vpc.enis[1].mac)
        assert settled.status()[eni]["reason_code"] == code
    settled.refresh()


def test_doctor_suggests_a_refresh_that_repairs_missing_items(settled: Instance) -> None:
    settled.guest.ip(["route del default table 10001"])
    assert "repair: ec2net refresh" in routing(settled)["remedy"]
    settled.refresh()
    assert verified(settled, status=0) == []


def test_a_finding_names_the_rule_and_the_table_and_the_route(settled: Instance) -> None:
    story = json.loads(settled.ec2net("explain", "10.0.2.5", "--json").stdout)
    (answer,) = story["kernel"]
    assert "dev ens6 by rule 10001: from 10.0.2.4/30 lookup 10001, route default via" in answer
    assert story["wrong"] == []


def test_a_delegated_prefix_is_looked_up_as_forwarded(settled: Instance) -> None:
    prefix = settled.vpc.enis[1].ipv4_prefixes[0]
    container = prefix[3]
    settled.guest.sysctl({"net/ipv4/ip_forward": "1"})
    with ip(settled, f"route add {prefix} dev docker0"):
        story = json.loads(settled.ec2net("explain", str(container), "--json").stdout)
        (answer,) = story["kernel"]
        assert f"from {container} (forwarded, from docker0) to 198.51.100.1" in answer
        assert "dev ens6 by rule 10001" in answer
        assert verified(settled, status=0) == []
        with ip(settled, f"rule add pref 100 from {prefix} lookup main"):
            (found,) = verified(settled)
            assert "198.51.100.1 (forwarded)" in found["text"]
            assert "rule 100: " in found["text"]
    settled.guest.sysctl({"net/ipv4/ip_forward": "0"})


@pytest.mark.parametrize(
    ("address", "assign"),
    [
        ("10.0.2.99", "aws ec2 assign-private-ip-addresses --network-interface-id"),
        ("2001:db8:0:2::99", "aws ec2 assign-ipv6-addresses --network-interface-id"),
    ],
)
def test_an_address_that_ec2_does_not_assign_is_the_cause(
    settled: Instance, address: str, assign: str
) -> None:
    eni = settled.vpc.enis[1]
    asked = settled.ec2net("explain", address, status=1).stderr
    assert f"{address} is in the subnet of {eni.eni_id}, but EC2 assigns it to no ENI" in asked
    assert f"{assign} {eni.eni_id}" in asked
    length = 32 if eni.ipv4s[0].version == 4 and "." in address else 128
    with ip(settled, f"addr add {address}/{length} dev ens6"):
        asked = settled.ec2net("explain", address, status=1).stderr
        said = f"{address} is on ens6, but EC2 does not assign it to {eni.eni_id}: the VPC drops"
        assert said in asked
        document = json.loads(settled.ec2net("doctor", "--json", status=1).stdout)["findings"]
        (found,) = (one for one in document if one["check"] == "unassigned-address")
        assert said in found["cause"]
        assert assign in found["remedy"]


def test_an_address_outside_all_subnets_may_be_intended(settled: Instance) -> None:
    """Such as a virtual address that a VPC's route table leads here."""
    with ip(settled, "addr add 192.0.2.77/32 dev ens6"):
        document = json.loads(settled.ec2net("doctor", "--json", status=None).stdout)["findings"]
        assert [one for one in document if one["check"] == "unassigned-address"] == []
    assert "is not the link, id" in settled.ec2net("explain", "192.0.2.77", status=2).stderr


@pytest.mark.parametrize("name", ["main", "blackhole"])
def test_a_finding_lasts_until_its_cause_is_gone(settled: Instance, name: str) -> None:
    """The second refresh ended with 0, and status reported nothing, while verify ended with 4."""
    do, said, _ = TAKEN[name]
    with ip(settled, *do):
        for _ in range(3):
            settled.ec2net("refresh", status=1)
            settled.ec2net("start", "ens6", status=1)
            shown = settled.ec2net("status", status=1).stdout
            assert said in shown
            assert " degraded " in shown
    settled.ec2net("refresh")
    assert said not in settled.ec2net("status").stdout


def test_the_daemon_verifies_earlier_state_and_foreign_changes(
    settled: Instance,
) -> None:
    eni = str(settled.vpc.enis[1].mac)
    do, said, _ = TAKEN["main"]
    with ip(settled, *do), managed(settled) as manager:
        manager.until(lambda: manager.states().get(eni) == "degraded", what="found at its start")
        assert said in settled.ec2net("status", status=1).stdout
        settled.guest.ip(["rule del pref 100 from 10.0.2.5"])
        manager.until(lambda: manager.states().get(eni) == "configured", what="seen to be gone")
        settled.ec2net("status")
        settled.guest.ip(list(do))
        manager.until(lambda: manager.states().get(eni) == "degraded", what="found by its event")
        assert said in manager.log()


def test_a_connection_proves_each_source_and_ipv6_only_with_a_target(settled: Instance) -> None:
    document = json.loads(settled.ec2net("verify", "--connect", "--json").stdout)
    proofs = {(one["source"], one["target"]): one["proof"] for one in document["connections"]}
    assert {proof for (_, to), proof in proofs.items() if to == "169.254.169.254:80"} == {
        "connected"
    }
    assert len(proofs) == document["checked"]
    shown = settled.ec2net("verify", "--connect").stdout
    assert "ens6  10.0.2.5" in shown
    assert "--to is for --connect" in settled.ec2net("verify", "--to", "1.2.3.4:5", status=2).stderr
    assert "is not ADDRESS:PORT" in settled.ec2net("verify", "--to", "host:80", status=2).stderr


def test_a_source_whose_packets_the_vpc_drops_is_not_connected(settled: Instance) -> None:
    """The kernel's answers are right: only the VPC shows it, as for an address of another instance."""
    router = settled.vpc.router
    router.nft(
        "table ip taken {\n chain input {\n  type filter hook input priority 0\n"
        "  ip saddr 10.0.2.5 drop\n }\n}\n"
    )
    try:
        document = json.loads(settled.ec2net("verify", "--connect", "--json", status=4).stdout)
    finally:
        router.nft("delete table ip taken\n")
    assert document["findings"] == []
    assert [one for one in document["connections"] if one["proof"] != "connected"] == [
        {
            "source": "10.0.2.5",
            "target": "169.254.169.254:80",
            "proof": "failed",
            "reason": "no answer within 3 s",
        }
    ]


def test_without_imds_over_ipv6_a_target_is_needed(settled: Instance) -> None:
    settled.vpc.silence_imds(6)
    try:
        document = json.loads(settled.ec2net("verify", "--connect", "--json").stdout)
        to = ("--connect", "--to", "[fd00:ec2::254]:80", "--json")
        failed = json.loads(settled.ec2net("verify", *to, status=None).stdout)
    finally:
        settled.vpc.unsilence_imds()
    ipv6 = [one for one in document["connections"] if ":" in one["source"]]
    assert {one["proof"] for one in ipv6} == {"not proven"}
    assert {one["reason"] for one in ipv6} == {"IMDS does not answer by IPv6"}
    assert len(failed["connections"]) == len(document["connections"]) + len(ipv6)


def test_the_exit_status_of_plan_says_whether_changes_are_due(
    settled: Instance,
) -> None:
    settled.ec2net("plan", "--exit-code")
    settled.guest.ip(["route del default table 10001"])
    settled.ec2net("plan")
    settled.ec2net("plan", "--exit-code", status=4)
    settled.configure('[[eni]]\nmatch = { device = 1 }\nmanage = "observe"\n')
    shown = settled.ec2net("plan", "--exit-code").stdout
    assert "(observed: will not be done)" in shown
    assert shown.endswith("Nothing to change.\n")
    settled.configure()
    settled.refresh()
    settled.vpc.silence_imds(4)
    settled.vpc.silence_imds(6)
    try:
        assert (
            "The plan may be incomplete" in settled.ec2net("plan", "--exit-code", status=1).stdout
        )
    finally:
        settled.vpc.unsilence_imds()


def test_the_primary_is_removed_only_with_force(settled: Instance) -> None:
    before = settled.kernel()
    done = settled.ec2net("remove", "ens5", status=2)
    assert "ens5 is the primary ENI: the host may lose its network (" in done.stderr
    assert settled.kernel() == before
    settled.ec2net("remove", "ens5", "--force")
    settled.refresh()


def test_one_archive_has_all_data_for_a_bug_report(settled: Instance, tmp_path: Path) -> None:
    eni = settled.vpc.enis[1]
    whole, hidden = tmp_path / "whole.tar.gz", tmp_path / "hidden.tar.gz"
    before = settled.kernel()
    settled.ec2net("support", str(whole))
    settled.ec2net("support", str(hidden), "--redact")
    assert settled.kernel() == before
    parts = contents(whole)
    assert json.loads(parts["record"])["version"]
    assert "OK: all" in parts["verify.txt"]
    assert str(eni.eni_id) in parts["status.txt"]
    assert "10001:" in parts["rules.txt"]
    assert parts["versions.txt"].startswith("ec2net ")
    redacted = contents(hidden)
    assert redacted.keys() == parts.keys()
    assert str(eni.mac) in parts["record"]
    assert not [name for name, text in redacted.items() if str(eni.mac) in text]


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.removeprefix("ec2net-support/")] = file.read().decode()
        return found
