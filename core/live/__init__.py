# SPDX-License-Identifier: Apache-2.0
"""Kernel changes that every backend shares: intent to objects, present objects, changes, leases.

Rules, secondary addresses and prefixes are the same under every manager, and a change of them must
not cost a lease. So no backend has its own way to make them; backends differ in who brings up the
base configuration (``Base`` in ``core/live/render.py``).
"""
