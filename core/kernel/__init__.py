# SPDX-License-Identifier: Apache-2.0
"""Netlink, nft and sysctl to objects and back; the only importer of pyroute2."""
