# SPDX-License-Identifier: Apache-2.0
"""The conversation with the kernel, as far as no link has to be made."""

import errno
import os
from ipaddress import ip_address, ip_interface, ip_network
from types import SimpleNamespace

import pytest

from ec2net.core.kernel import pyroute
from ec2net.core.kernel.session import Kernel
from ec2net.core.model.errors import KernelError
from ec2net.core.model.objects import Address, LinkRef, Rule

RULE = Rule(ip_network("10.0.1.4/32"), 10001, 10001)
ADDRESS = Address(LinkRef(1, "lo"), ip_interface("10.0.1.4/32"))


@pytest.mark.parametrize(
    ("release", "known", "marks"),
    [
        ("5.17.15-generic", True, False),
        ("5.18.0", True, True),
        ("6.1.0-13-cloud-amd64", True, True),
        ("10.0", True, True),
        ("4.18.0-553.el8", True, False),
        ("6.1.0-13-cloud-amd64", False, False),  # an older pyroute2
        ("6", True, False),
        ("unknown.release", True, False),
    ],
)
def test_addresses_are_marked_where_kernel_and_library_can(
    monkeypatch: pytest.MonkeyPatch, release: str, known: bool, marks: bool
) -> None:
    """Where addresses are marked but a mark is impossible, ec2net's would count as foreign."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    monkeypatch.setattr(pyroute, "knows_address_protocol", lambda: known)
    assert Kernel(236).marks_addresses is marks


@pytest.mark.parametrize(
    ("code", "raises"),
    [
        (errno.ENOENT, False),
        (errno.ESRCH, False),
        (errno.EADDRNOTAVAIL, False),
        (errno.ENODEV, False),
        (errno.EPERM, True),
        (errno.EBUSY, True),
    ],
)
@pytest.mark.parametrize("item", [RULE, ADDRESS], ids=["rule", "address"])
def test_removing_a_missing_object_succeeds_and_a_refusal_is_an_error(
    monkeypatch: pytest.MonkeyPatch, item: Rule | Address, code: int, raises: bool
) -> None:
    def refuse(*_: object) -> None:
        raise KernelError("refused", errno=code)

    kernel = Kernel(236)
    monkeypatch.setattr(kernel, "_change", refuse)
    if not raises:
        kernel.remove(item)
        return
    with pytest.raises(KernelError, match="refused"):
        kernel.remove(item)


def test_the_addresses_of_every_link_are_read() -> None:
    """The networkd backend searches them for leased addresses; the loopback has one on each
    host."""
    with Kernel(236) as kernel:
        assert ip_address("127.0.0.1") in kernel.addresses()
