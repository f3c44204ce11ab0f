# SPDX-License-Identifier: Apache-2.0
"""Kernel changes that every backend shares: intent to objects, present objects, changes, leases.

Rules, secondary addresses and prefixes are the same with every network manager, and a change of
them must not cost a lease. All backends therefore share this code. They differ in who brings up the
base configuration (``Base`` in ``core/live/render.py``).
"""
