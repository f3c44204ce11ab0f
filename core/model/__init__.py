# SPDX-License-Identifier: Apache-2.0
"""Values that every folder may use: identity, numbers (table, rule priority, metric), facts,
kernel objects, snapshot, plan, findings, errors.
"""
