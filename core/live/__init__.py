# SPDX-License-Identifier: Apache-2.0
"""Live changes by rtnetlink: what every backend does at run time, so that no lease is touched."""
