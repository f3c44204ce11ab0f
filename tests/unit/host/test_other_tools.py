# SPDX-License-Identifier: Apache-2.0
"""Other tools are recognised by what they leave on a host, and by nothing less."""

from dataclasses import replace

import pytest
from other_tools_host import (
    ACTIVE,
    BY_NETWORKD,
    BY_NM,
    CLOUD_SETUP,
    EC2_ON,
    HOTPLUG_RULE,
    HOTPLUG_SOCKET,
    INTERFACES,
    MASKED_RULE,
    NET_UTILS_RULE,
    NET_UTILS_TIMER,
    NETWORKMANAGER,
    UNITS,
    host,
)

from ec2net.core.host.files import Environment
from ec2net.core.host.other_tools import Danger, Recognised, Tool, recognise, rivals

TIMER = ["/usr/lib/systemd/system/refresh-policy-routes@.timer"]
MIGRATE_NET_UTILS = "run: ec2net migrate --from amazon-ec2-net-utils"


def harmful_or_other(environment: Environment) -> list[Recognised]:
    """Without the notes about packages that are installed and off."""
    return [one for one in recognise(environment) if "the tool is off" not in one.remedy]


@pytest.mark.parametrize(
    ("environment", "tool", "danger", "told"),
    [
        (
            host(links={f"{ACTIVE}policy-routes@ens6.service": "1"}),
            Tool.NET_UTILS,
            Danger.DOUBLE,
            MIGRATE_NET_UTILS,
        ),
        (
            host(
                links={
                    f"{UNITS}/policy-routes@ens6.service.wants/refresh-policy-routes@ens6.timer": "t"
                }
            ),
            Tool.NET_UTILS,
            Danger.DOUBLE,
            MIGRATE_NET_UTILS,
        ),
        (
            host({NET_UTILS_RULE: "SUBSYSTEM==..."}, {f"{ACTIVE}policy-routes@ens6.service": "1"}),
            Tool.NET_UTILS,
            Danger.DOUBLE,
            MIGRATE_NET_UTILS,
        ),
        (
            host(working=["refresh-policy-routes@ens6.timer"]),
            Tool.NET_UTILS,
            Danger.DOUBLE,
            MIGRATE_NET_UTILS,
        ),
        (
            host(working=["nm-cloud-setup.timer"]),
            Tool.NM_CLOUD_SETUP,
            Danger.DOUBLE,
            "run: ec2net migrate --from nm-cloud-setup",
        ),
        (
            host(links={f"{UNITS}/timers.target.wants/nm-cloud-setup.timer": "t"}),
            Tool.NM_CLOUD_SETUP,
            Danger.DOUBLE,
            "run: ec2net migrate --from nm-cloud-setup",
        ),
        (
            host(
                {f"{CLOUD_SETUP}.d/10-other.conf": "#Environment=NM_CLOUD_SETUP_EC2=yes\n"},
                {f"{ACTIVE}nm-cloud-setup.service": "1"},
            ),
            Tool.NM_CLOUD_SETUP,
            Danger.NONE,
            "does nothing on EC2",
        ),
        (
            host(
                {CLOUD_SETUP: "[Service]\n", f"{CLOUD_SETUP}.d/10.conf": EC2_ON},
                {f"{ACTIVE}nm-cloud-setup.service": "1"},
            ),
            Tool.NM_CLOUD_SETUP,
            Danger.DOUBLE,
            "run: ec2net migrate --from nm-cloud-setup",
        ),
        (
            host(links={f"{UNITS}/timers.target.wants/cloud-netconfig.timer": "t"}),
            Tool.CLOUD_NETCONFIG,
            Danger.DOUBLE,
            "run: ec2net migrate --from cloud-netconfig",
        ),
        (
            host({"/etc/default/cloud-netconfig": 'CLOUD_NETCONFIG_MANAGE="yes"\n'}),
            Tool.CLOUD_NETCONFIG,
            Danger.POSSIBLE,
            "run: ec2net migrate --from cloud-netconfig",
        ),
        (
            host({HOTPLUG_RULE: "x"}),
            Tool.CLOUD_INIT,
            Danger.POSSIBLE,
            "run: systemctl mask --now cloud-init-hotplugd.socket",
        ),
        (
            host({"/run/systemd/network/80-ec2.network.d/10-eks-disable.conf": ""}),
            Tool.NODEADM,
            Danger.POSSIBLE,
            'manage = "ignore"',
        ),
        (
            host({"/run/systemd/network/70-eks-ens5.network": ""}),
            Tool.NODEADM,
            Danger.POSSIBLE,
            'manage = "ignore"',
        ),
        (
            host({"/etc/netplan/50-cloud-init.yaml": ""}),
            Tool.NETPLAN,
            Danger.NONE,
            "only DHCP",
        ),
        (
            host({"/run/systemd/network/10-netplan-ens5.network": ""}),
            Tool.NETPLAN,
            Danger.NONE,
            "only DHCP",
        ),
        (
            host({INTERFACES: "auto lo\niface lo inet loopback\n  iface ens6 inet static\n"}),
            Tool.IFUPDOWN,
            Danger.NONE,
            f"from {INTERFACES}",
        ),
        (
            host({"/run/network/interfaces.d/ens5": "iface ens5 inet dhcp\n"}),
            Tool.IFUPDOWN,
            Danger.NONE,
            "from /run/network/interfaces.d/ens5",
        ),
    ],
)
def test_a_tool_is_recognised_and_its_remedy_named(
    environment: Environment, tool: Tool, danger: Danger, told: str
) -> None:
    (found,) = harmful_or_other(environment)
    assert (found.tool, found.danger) == (tool, danger)
    assert told in found.remedy
    assert found.trace


@pytest.mark.parametrize(
    "environment",
    [
        host(),
        host({NET_UTILS_RULE: "x"}, {MASKED_RULE: "/dev/null"}),
        host({NET_UTILS_RULE: "\n"}),  # the EKS AMI empties it
        host({NET_UTILS_RULE: "x"}, {f"{UNITS}/policy-routes@.service": "/dev/null"}),
        host(links={f"{ACTIVE}ec2net@ens6.service": "1"}),
        host({"/etc/default/cloud-netconfig": 'CLOUD_NETCONFIG_MANAGE="no"\n'}),
        host({HOTPLUG_RULE: "x"}, {HOTPLUG_SOCKET: "/dev/null"}),
        host({HOTPLUG_RULE: "x", "/etc/cloud/cloud-init.disabled": ""}),
        host({"/run/systemd/network/70-ec2net-ens5.network": ""}),
        host({"/run/systemd/network/80-ec2.network.d/10-mine.conf": ""}),
        host({"/etc/netplan/README": ""}),
        host({INTERFACES: "iface ens6 inet manual\niface br0 inet dhcp\n# iface ens5 inet dhcp\n"}),
    ],
)
def test_an_inactive_file_is_no_tool(environment: Environment) -> None:
    assert harmful_or_other(environment) == []
    assert rivals(environment) == ()


@pytest.mark.parametrize(
    ("environment", "proof"),
    [
        (
            host({NET_UTILS_RULE: "x"}, {MASKED_RULE: "/dev/null"}),
            (f"{MASKED_RULE} masks its udev rule", "none of its units starts"),
        ),
        (host({NET_UTILS_RULE: "\n"}), ("it has no active udev rule", "none of its units starts")),
        (
            host(links={f"{UNITS}/refresh-policy-routes@.timer": "/dev/null"}),
            ("it has no active udev rule", "its unit files are masked"),
        ),
    ],
)
def test_a_disabled_package_is_a_note_with_the_proof(
    environment: Environment, proof: tuple[str, ...]
) -> None:
    found = next(one for one in recognise(environment) if one.tool is Tool.NET_UTILS)
    assert found.danger is Danger.NONE
    assert (
        "refresh-policy-routes@.timer is installed, but systemd runs none of its units"
        in found.trace
    )
    for words in proof:
        assert words in found.trace
    assert "its package can be removed safely" in found.remedy


def test_a_pass_asks_systemd_only_where_a_unit_can_be_started() -> None:
    """Without the package, and once ``migrate`` masked its units, a pass runs no systemctl."""
    asked: list[tuple[str, ...]] = []

    def working(patterns: tuple[str, ...]) -> tuple[str, ...]:
        asked.append(patterns)
        return ()

    for environment, times in (
        (host(shipped=()), 0),
        (host(links={f"{UNITS}/refresh-policy-routes@.timer": "/dev/null"}, shipped=TIMER), 0),
        (host(shipped=TIMER), 1),
    ):
        asked.clear()
        assert rivals(replace(environment, working_units=working)) == ()
        assert len(asked) == times


def test_all_tools_are_reported() -> None:
    environment = host(
        {
            "/etc/netplan/50-cloud-init.yaml": "",
            HOTPLUG_RULE: "x",
            NET_UTILS_RULE: "x",
        }
    )
    found = [one.tool for one in harmful_or_other(environment)]
    assert found == [Tool.NET_UTILS, Tool.CLOUD_INIT, Tool.NETPLAN]


NM_TIMER = {f"{UNITS}/timers.target.wants/nm-cloud-setup.timer": "t"}
SUSE_TIMER = {f"{ACTIVE}cloud-netconfig.timer": "1"}
IFCFG = "/etc/sysconfig/network/ifcfg-"


@pytest.mark.parametrize(
    ("environment", "links"),
    [
        pytest.param(host({NET_UTILS_RULE: "x"}), None, id="a udev rule is for all"),
        pytest.param(
            host(links={f"{ACTIVE}policy-routes@ens6.service": "1"}),
            {"ens6"},
            id="a unit is for one",
        ),
        pytest.param(
            host(links={f"{ACTIVE}refresh-policy-routes@gone1.timer": "1"}),
            {"gone1"},
            id="a unit of a link that is gone",
        ),
        pytest.param(host(links=NM_TIMER), set(), id="without NetworkManager it does nothing"),
        pytest.param(
            host({f"{BY_NM}/3": "managed=true"}, {**NM_TIMER, NETWORKMANAGER: "1"}),
            {"ens5", "ens6"},
            id="what NetworkManager has, and will have",
        ),
        pytest.param(
            host(
                {f"{BY_NM}/2": "managed=true", f"{BY_NETWORKD}/3": "ADMIN_STATE=configured"},
                {**NM_TIMER, NETWORKMANAGER: "1", f"{ACTIVE}systemd-networkd.service": "1"},
            ),
            {"ens5"},
            id="not what networkd has",
        ),
        pytest.param(
            host(
                links={**NM_TIMER, f"{UNITS}/multi-user.target.wants/NetworkManager.service": "n"}
            ),
            {"ens5", "ens6"},
            id="before NetworkManager has started",
        ),
        pytest.param(host(links=SUSE_TIMER), {"ens5", "ens6"}, id="cloud-netconfig: all"),
        pytest.param(
            host({f"{IFCFG}ens6": "CLOUD_NETCONFIG_MANAGE='no'\n"}, SUSE_TIMER),
            {"ens5"},
            id="but what is left out",
        ),
        pytest.param(
            host(
                {
                    "/etc/default/cloud-netconfig": 'CLOUD_NETCONFIG_MANAGE="no"\n',
                    f"{IFCFG}ens6": "CLOUD_NETCONFIG_MANAGE='yes'\n",
                },
                SUSE_TIMER,
            ),
            {"ens6"},
            id="or in turn",
        ),
    ],
)
def test_a_tool_has_its_enis(environment: Environment, links: set[str] | None) -> None:
    (found,) = rivals(environment)
    assert found.links == links
    assert found.rival is not None


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(f"{UNITS}/timers.target.wants/nm-cloud-setup.timer", id="nm-cloud-setup"),
        pytest.param(f"{UNITS}/timers.target.wants/cloud-netconfig.timer", id="cloud-netconfig"),
        pytest.param(
            f"{UNITS}/policy-routes@ens6.service.wants/refresh-policy-routes@ens6.timer",
            id="amazon-ec2-net-utils",
        ),
    ],
)
def test_units_that_a_removed_package_left_enabled_are_no_conflict(wanted: str) -> None:
    """systemd starts no unit by such a link, and 'systemctl disable' does not find it any more."""
    assert len(rivals(host(links={wanted: "t"}))) == 1
    assert recognise(host(links={wanted: "t"}, shipped=())) == ()
    instead = f"/run/systemd/system/{wanted.rpartition('/')[2]}"  # wherever the link leads to
    assert len(rivals(host({instead: "x"}, {wanted: "t"}, shipped=()))) == 1


@pytest.mark.parametrize(
    ("wanted", "masked"),
    [
        ("timers.target.wants/nm-cloud-setup.timer", "nm-cloud-setup.timer"),
        ("timers.target.wants/cloud-netconfig.timer", "cloud-netconfig.timer"),
        (NET_UTILS_TIMER, "refresh-policy-routes@ens6.timer"),
        (NET_UTILS_TIMER, "refresh-policy-routes@.timer"),
    ],
)
def test_a_masked_unit_is_no_conflict_though_its_link_stays(wanted: str, masked: str) -> None:
    """'systemctl mask' leaves the links of 'enable' (systemctl(1)); /dev/null can be read."""
    enabled, mask = {f"{UNITS}/{wanted}": "t"}, f"{UNITS}/{masked}"
    assert len(rivals(host(links=enabled))) == 1
    assert harmful_or_other(host({mask: ""}, {**enabled, mask: "/dev/null"})) == []
    running = {f"{ACTIVE}{wanted.rpartition('/')[2]}": "1"}  # masked while it runs
    assert len(rivals(host({mask: ""}, {**enabled, mask: "/dev/null", **running}))) == 1


def test_an_enabled_instance_counts_though_its_template_is_masked() -> None:
    template, own = (f"{UNITS}/refresh-policy-routes@{name}.timer" for name in ("", "ens6"))
    links = {f"{UNITS}/{NET_UTILS_TIMER}": "t", template: "/dev/null"}
    assert len(rivals(host({template: "", own: "[Timer]\n"}, links))) == 1


def test_a_tool_for_other_work_is_no_conflict() -> None:
    left = {"/etc/netplan/50-cloud-init.yaml": "", HOTPLUG_RULE: "x", **dict.fromkeys(NM_TIMER, "")}
    assert rivals(host({**left, CLOUD_SETUP: "[Service]\n"})) == ()
    assert rivals(host({"/run/systemd/network/70-eks-ens5.network": ""})) == ()


def test_every_stanza_of_ifupdown_is_named() -> None:
    """Only the first was: a static secondary ENI behind the primary's DHCP was not seen."""
    text = "iface ens5 inet dhcp\niface ens6 inet static\n address 10.0.2.5/24\niface ens5 inet6 auto\n"
    further = "iface ens6 inet6 static\n"
    seen = recognise(host({INTERFACES: text, "/run/network/interfaces.d/ens6": further}))
    (found,) = (one for one in seen if one.tool is Tool.IFUPDOWN)
    assert found.trace == (
        f"{INTERFACES} configures ens5 (dhcp), ens6 (static), ens5 (auto);"
        " /run/network/interfaces.d/ens6 configures ens6 (static)"
    )
    assert f"from {INTERFACES}, /run/network/interfaces.d/ens6" in found.remedy
