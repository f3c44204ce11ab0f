# SPDX-License-Identifier: Apache-2.0
"""Fixtures of every unit test, in any order of the tests."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A busy machine fails no property: neither a slow example nor slow generation counts.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """The changes of ``main`` to the logger end with the test that called it."""
    logger = logging.getLogger("ec2net")
    before = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate, logger.level = before
