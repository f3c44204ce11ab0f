# SPDX-License-Identifier: Apache-2.0
"""Everything under /run/ec2net, one module for each kind of file."""
