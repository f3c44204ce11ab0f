# SPDX-License-Identifier: Apache-2.0
"""Other programs on the host: which network manager has a link, other tools for ENIs, udev."""
