# SPDX-License-Identifier: Apache-2.0
"""The door for backends and hooks: contract, hooks, choice, guard, report."""
