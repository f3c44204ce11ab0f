# SPDX-License-Identifier: Apache-2.0
"""One pass from start to end: reading, backends' plans, apply, verify, roll-back, drift."""
