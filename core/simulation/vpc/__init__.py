# SPDX-License-Identifier: Apache-2.0
"""The VPC on one machine: network namespaces, bridges, a source check and an IMDS double.

Used by ``ec2net demo`` and by the tests, since only real connections prove routing. They need a
source check that drops, both IP versions, hotplug and an IMDS with faults. It uses the standard
library and the commands ``ip``, ``bridge`` and ``nft`` alone, to be independent of the tested code.
"""
