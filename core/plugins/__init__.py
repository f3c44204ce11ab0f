# SPDX-License-Identifier: Apache-2.0
"""The interface of plugins: contract of a backend, hooks, which backend a link gets, guard, report."""
