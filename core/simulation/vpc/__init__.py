# SPDX-License-Identifier: Apache-2.0
"""The VPC on one machine: network namespaces, bridges, a source check and an IMDS double.

Used by ``ec2net demo`` and by the tests. Only the standard library and the ``ip``,
``bridge`` and ``nft`` commands, so that it stays independent of what is tested with it.
"""
