# SPDX-License-Identifier: Apache-2.0
"""The memory of passes, /run/ec2net: the folder, a module for each kind of file, the host lock."""
