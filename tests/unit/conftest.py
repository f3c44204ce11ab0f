# SPDX-License-Identifier: Apache-2.0
"""Of all properties in here: an example that is slow on a busy machine is no counterexample."""

from hypothesis import settings

settings.register_profile("patient", settings.default, deadline=None)
settings.load_profile("patient")
