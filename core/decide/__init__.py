# SPDX-License-Identifier: Apache-2.0
"""Pure: facts and settings to intent; wanted and in place to a plan."""
