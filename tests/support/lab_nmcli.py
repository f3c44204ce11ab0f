# SPDX-License-Identifier: Apache-2.0
"""NetworkManager of an instance, as its user sees it."""

from collections.abc import Iterator
from contextlib import contextmanager

from lab_instance import LabInstance


def nmcli(instance: LabInstance, *arguments: str) -> str:
    return instance.host.run(["nmcli", *arguments]).stdout


def connection(instance: LabInstance, link: str) -> str:
    return nmcli(instance, "-g", "GENERAL.CONNECTION", "device", "show", link).strip()


@contextmanager
def no_hook(instance: LabInstance) -> Iterator[None]:
    """Without the dispatcher's hook for a while."""
    folder = "/usr/lib/NetworkManager/dispatcher.d"
    hooks = (f"{folder}/80-ec2net", f"{folder}/pre-up.d/80-ec2net")
    instance.host.run(["chmod", "-x", *hooks])
    try:
        yield
    finally:
        instance.host.run(["chmod", "+x", *hooks])
