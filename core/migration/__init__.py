# SPDX-License-Identifier: Apache-2.0
"""The commands ``migrate`` and ``adopt``: the host, the plan that hands it over, its record."""
