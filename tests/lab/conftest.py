# SPDX-License-Identifier: Apache-2.0
"""Tests in here boot hosts with real systemd in a sandbox; each runs on every setting."""

from collections.abc import Iterator

import pytest
from lab_boot import Boot
from lab_instance import SETTINGS, LabInstance, Setting, booted

from ec2net.core.simulation.vpc import sandbox


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests of one network manager, or mode, in the settings of another; mark as exhaustive
    the tests that ``make test`` runs on another setting."""
    others = []
    for item in items:
        callspec = getattr(item, "callspec", None)
        found: Setting | None = callspec.params.get("setting") if callspec is not None else None
        if found is None:
            continue
        backend, mode = item.get_closest_marker("backend"), item.get_closest_marker("mode")
        if (backend is not None and found.backend not in backend.args) or (
            found.mode.value not in mode.args if mode is not None else not found.usual
        ):
            others.append(item)
        elif item.get_closest_marker("first_setting") is not None:
            if found != SETTINGS[0]:
                item.add_marker("exhaustive")
        elif backend is None and not found.once:
            item.add_marker("exhaustive")
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@pytest.fixture(scope="session", autouse=True)
def _sandbox() -> None:
    """Separate network and mount namespaces; the process never needs to return."""
    sandbox.enter()


@pytest.fixture(scope="module", params=SETTINGS, ids=str)
def setting(request: pytest.FixtureRequest) -> Setting:
    """A release of systemd and a backend."""
    found: Setting = request.param
    return found


@pytest.fixture(scope="module")
def boot(setting: Setting) -> Boot:
    """Boots a host of the setting, with arguments as :func:`lab_instance.booted` takes them."""
    return lambda **arguments: booted(setting, **arguments)


@pytest.fixture(scope="module")
def pair(boot: Boot) -> Iterator[LabInstance]:
    """A host with a primary ENI and a secondary one, both with everything, complete and without
    its timer; the tests of a module share it, and each leaves it so."""
    with boot() as instance:
        instance.attach_many()
        instance.until_at_rest()
        instance.refresh()
        yield instance
