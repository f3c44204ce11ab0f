# SPDX-License-Identifier: Apache-2.0
"""A router solicitation that cannot be sent. One that is: tests/netns/test_kernel_neighbours.py."""

import pytest

from ec2net.core.kernel.router_solicitation import solicit_router
from ec2net.core.model.errors import KernelError


def test_without_the_link_or_the_permission_the_error_names_the_link() -> None:
    with pytest.raises(KernelError, match="no router solicitation through link 999999"):
        solicit_router(999999)
