# SPDX-License-Identifier: Apache-2.0
"""The command ``doctor``: readings of the host, and pure functions that make findings of them
(sysctls, routes, links, addresses, IMDS, units).
"""
