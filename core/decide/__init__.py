# SPDX-License-Identifier: Apache-2.0
"""Pure functions: from facts and settings to the intent, and from the intent to a plan."""
