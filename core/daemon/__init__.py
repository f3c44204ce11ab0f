# SPDX-License-Identifier: Apache-2.0
"""The resident manager: one process for all ENIs, woken by the kernel, a timer or a poke."""
