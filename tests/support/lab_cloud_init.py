# SPDX-License-Identifier: Apache-2.0
"""cloud-init of Debian on a lab host: DataSourceEc2 against the IMDS double, one renderer."""

from enum import Enum
from pathlib import Path

from lab_host import HostError, LabHost
from lab_manager import UNITS, use_ifupdown


class Renderer(Enum):
    """How cloud-init writes the network configuration; the values are its own names."""

    NETPLAN = "netplan"
    IFUPDOWN = "eni"
    NETWORKMANAGER = "network-manager"


_CONFIG = """\
locale: false
datasource_list: [Ec2]
datasource:
  Ec2:
    apply_full_imds_network_config: {full}
    metadata_urls: ["http://169.254.169.254"]
system_info:
  network:
    renderers: [{renderer}]
    activators: [{renderer}]
updates:
  network:
    when: [{when}]
"""

"""Without ``metadata_urls`` cloud-init first asks DNS for a name, which the lab's servers do not
answer. Without ``activators`` it runs ``ifup`` for an attached ENI if ifupdown is installed, whatever its
renderer is."""

_DMI = """

def read_dmi_data(key):
    return {
        "system-uuid": "ec2e1916-9099-7caf-fd21-012345abcdef",
        "system-serial-number": "ec2e1916-9099-7caf-fd21-012345abcdef",
        "system-manufacturer": "Amazon EC2",
        "system-product-name": "m7i.large",
    }.get(key)
"""
"""cloud-init reads no DMI in a container. By these values it recognizes EC2 (DataSourceEc2.py,
``identify_aws``)."""

_FOR_THE_LAB = {
    "sources/DataSourceEc2.py": ("vif|ena|ixgbevf", "vif|ena|ixgbevf|veth"),
    "net/ephemeral.py": (
        'if "File exists" not in str(e.stderr)',
        'if not re.search("File exists|already assigned", str(e.stderr))',
    ),
}
"""By module of cloud-init: a text, and the text instead. The hotplug rule of 25.1 matches links of EC2's
drivers only. 22.4 knows only the message of the kernel of its Debian release: the kernel of the tests
refuses an existing address with other words (docs/cloud-init.md)."""

_GENERATOR = Path("usr/libexec/netplan/generate")
_NETPLAN = """\
#!/bin/bash
(exec -a "$0" /usr/libexec/netplan/generate.real "$@") || exit
for file in /run/systemd/network/10-netplan-*.network; do
    [ -e "$file" ] || continue
    text=$(sed s/^PermanentMACAddress=/MACAddress=/ "$file")
    printf '%s\\n' "$text" >"$file"
done
"""
"""netplan matches by the permanent MAC, which a veth link does not have."""

_MODULES = Path("usr/lib/python3/dist-packages/cloudinit")


def use_cloud_init(
    root: Path, renderer: Renderer, *, full: bool = True, hotplug: bool = False
) -> None:
    """Turn cloud-init on, from the next boot on; ``hotplug``: also for ENIs that are attached."""
    if renderer is Renderer.IFUPDOWN:
        use_ifupdown(root)
        (root / "etc/network/interfaces").write_text(
            "source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\n"
        )
    (root / "etc/cloud/cloud-init.disabled").unlink()
    when = ["boot-new-instance", *(["hotplug"] if hotplug else [])]
    config = _CONFIG.format(full=str(full).lower(), renderer=renderer.value, when=", ".join(when))
    (root / "etc/cloud/cloud.cfg.d/90-lab.cfg").write_text(config)
    use_netplan(root)
    with (root / _MODULES / "dmi.py").open("a") as module:
        module.write(_DMI)
    for name, (old, new) in _FOR_THE_LAB.items():
        source = root / _MODULES / name
        source.write_text(
            source.read_text().replace(old, new).replace("import logging", "import logging, re", 1)
        )


def use_netplan(root: Path) -> None:
    """Let netplan's files match veth links."""
    generator = root / _GENERATOR
    generator.rename(generator.with_suffix(".real"))
    generator.write_text(_NETPLAN)
    generator.chmod(0o755)


def without_ec2net(root: Path) -> None:
    """Leave the package installed and its units disabled."""
    presets = root / "etc/systemd/system-preset"
    presets.mkdir(parents=True, exist_ok=True)
    (presets / "00-without.preset").write_text("disable ec2net*\n")
    for path in root.glob(f"{UNITS}/*.wants/ec2net*"):
        path.unlink()


def until_done(host: LabHost) -> None:
    """Wait for the end of cloud-init's stages. ``HostError`` if one failed."""
    done = host.run(["cloud-init", "status", "--wait", "--long"], timeout=180, check=False)
    if "status: done" not in done.stdout:
        raise HostError(f"{done.stdout}{done.stderr}{host.read('/var/log/cloud-init.log')[-6000:]}")
