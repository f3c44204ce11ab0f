# SPDX-License-Identifier: Apache-2.0
"""Kernel changes that every backend shares: intent to objects, what is in place, changes."""
