# SPDX-License-Identifier: Apache-2.0
"""What travels: identity, numbers, facts, kernel objects, snapshot, plan items, findings, errors."""
