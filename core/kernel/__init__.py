# SPDX-License-Identifier: Apache-2.0
"""The kernel as this program sees it: typed objects, dumps, changes, link events."""
