# SPDX-License-Identifier: Apache-2.0
"""What other programs on the host say: who manages a link, other tools, udev."""
