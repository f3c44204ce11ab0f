# SPDX-License-Identifier: Apache-2.0
"""A busy machine fails no property: neither a slow example nor slow generation counts."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")
